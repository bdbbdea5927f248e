//! The data folder: one process at a time, and the first admin key.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tidepost_io::clock::random;
use tidepost_io::secret::Secret;

use crate::stack::error::StackError;

/// The environment variable of the first admin key.
pub const ADMIN_KEY_VARIABLE: &str = "TIDEPOST_ADMIN_KEY";
/// The file of the first admin key in a data folder.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// Characters of an admin key at the least.
pub const ADMIN_KEY_CHARACTERS_MIN: usize = 32;
const LOCK_FILE: &str = "lock";

/// Makes the folder if it is not there.
///
/// # Errors
/// [`StackError::Data`] when it cannot be made.
pub fn make(folder: &Path) -> Result<(), StackError> {
    std::fs::create_dir_all(folder).map_err(failed(folder))
}

/// The hold of one process on a data folder; the operating system ends it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder.
    ///
    /// # Errors
    /// [`StackError::InUse`] when another process has it.
    pub fn take(folder: &Path) -> Result<Self, StackError> {
        let path = folder.join(LOCK_FILE);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {
                let note = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                note.map_err(failed(&path))?;
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let is_known = file.read_to_string(&mut process).is_ok() && !process.is_empty();
                let process = if is_known { process } else { "unknown".to_owned() };
                Err(StackError::InUse { folder: folder.to_owned(), process })
            }
            Err(TryLockError::Error(source)) => Err(StackError::Data { path, source }),
        }
    }
}

/// Where the first admin key comes from.
#[derive(Clone, Debug)]
pub enum AdminKey {
    /// `TIDEPOST_ADMIN_KEY` is set.
    Environment(Secret),
    /// The caller knows it.
    Given(Secret),
    /// Kept in the data folder, made at the first start.
    Kept,
}

/// The first admin key of a running stack.
#[derive(Debug)]
pub struct FirstKey {
    /// The key.
    pub key: Secret,
    /// The secret reference by which functions read it.
    pub reference: String,
    /// Whether it was made just now, so that nobody knows it yet.
    pub is_new: bool,
    /// Keeps a key that is in no data folder until the stack ends.
    _file: Option<NamedTempFile>,
}

impl FirstKey {
    /// Finds or makes the key; without a folder it is kept in a temporary file of this process.
    ///
    /// # Errors
    /// [`StackError::Data`] when a file cannot be read or written.
    pub fn resolve(source: AdminKey, folder: Option<&Path>) -> Result<Self, StackError> {
        match (source, folder) {
            (AdminKey::Environment(key), _) => {
                Ok(Self { key, reference: format!("env:{ADMIN_KEY_VARIABLE}"), is_new: false, _file: None })
            }
            (AdminKey::Given(key), _) => Self::temporary(key, false),
            (AdminKey::Kept, None) => Self::temporary(generate(), true),
            (AdminKey::Kept, Some(folder)) => Self::kept(folder),
        }
    }

    fn temporary(key: Secret, is_new: bool) -> Result<Self, StackError> {
        let file = written(&std::env::temp_dir(), &key)?;
        let reference = format!("file:{}", file.path().display());
        Ok(Self { key, reference, is_new, _file: Some(file) })
    }

    fn kept(folder: &Path) -> Result<Self, StackError> {
        let path = folder.join(ADMIN_KEY_FILE);
        let reference = format!("file:{}", path.display());
        if let Some(key) = read(&path)? {
            return Ok(Self { key, reference, is_new: false, _file: None });
        }
        let key = generate();
        // Whole or not at all, and never over one that another host made meanwhile.
        match written(folder, &key)?.persist_noclobber(&path) {
            Ok(_) => Ok(Self { key, reference, is_new: true, _file: None }),
            Err(_) => match read(&path)? {
                Some(key) => Ok(Self { key, reference, is_new: false, _file: None }),
                None => Err(StackError::Data { path, source: std::io::ErrorKind::AlreadyExists.into() }),
            },
        }
    }
}

/// A file that only its owner may read.
fn written(folder: &Path, key: &Secret) -> Result<NamedTempFile, StackError> {
    let mut file = NamedTempFile::new_in(folder).map_err(failed(folder))?;
    writeln!(file, "{}", key.expose()).map_err(failed(folder))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Option<Secret>, StackError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn generate() -> Secret {
    Secret::new(format!("tp_{}", data_encoding::BASE64URL_NOPAD.encode(&random::<32>())))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> StackError {
    let path: PathBuf = path.to_owned();
    move |source| StackError::Data { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_one_processs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn the_key_is_made_once_and_kept_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = FirstKey::resolve(AdminKey::Kept, Some(folder.path())).unwrap();
        let again = FirstKey::resolve(AdminKey::Kept, Some(folder.path())).unwrap();
        assert!(first.is_new && !again.is_new);
        assert!(first.key == again.key);
        assert!(first.key.expose().len() >= ADMIN_KEY_CHARACTERS_MIN);
        let mode = std::fs::metadata(folder.path().join(ADMIN_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn without_a_folder_the_key_is_gone_with_the_stack() {
        let first = FirstKey::resolve(AdminKey::Kept, None).unwrap();
        let path = PathBuf::from(first.reference.strip_prefix("file:").unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        assert!(!path.exists());
    }
}
