//! Records and cells of CSV.

use csv_core::{ReadRecordResult, Reader};

use crate::invalid::Invalid;
use crate::list::{Read, Row, not_utf8, openid};

/// The openids of a file with one column, whose first line may be the header `openid`.
pub(super) fn openids(file: &[u8]) -> Vec<Read<String>> {
    let mut records = Records::new(file, 1);
    let mut is_first = true;
    let rows = std::iter::from_fn(|| {
        let row = records.next(|cells| {
            check_count(&cells, 1)?;
            let cell = cells.concat();
            let is_header = is_first && cell.eq_ignore_ascii_case("openid");
            if is_header { Ok(None) } else { openid(&cell).map(Some) }
        });
        is_first = false;
        row
    });
    rows.filter_map(|Row { line, value }| Some(Row { line, value: value.transpose()? })).collect()
}

/// The records of a file. A broken one costs only the line it begins in.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    line: usize,
    lines_max: usize,
}

impl<'a> Records<'a> {
    /// A record may run over up to `lines_max` lines: 1 where no cell can hold a line break.
    pub fn new(file: &'a [u8], lines_max: usize) -> Self {
        Self { rest: file, line: 1, lines_max }
    }

    /// The next record that is not blank, by `read` from its trimmed cells.
    pub fn next<T>(&mut self, read: impl Fn(Vec<String>) -> Result<T, Vec<Invalid>>) -> Option<Read<T>> {
        loop {
            let first = first_line(self.rest);
            if first.is_empty() {
                return None;
            }
            if first.trim_ascii().is_empty() {
                self.advance(first.len(), 1);
                continue;
            }
            let line = self.line;
            let (record, lines) = self.record(first.len());
            let value = cells(record).and_then(&read);
            if value.is_err() && lines > 1 {
                // The line break was not meant, most likely: the lines after it are records of their own.
                self.advance(first.len(), 1);
            } else {
                self.advance(record.len(), lines);
            }
            return Some(Row { line, value });
        }
    }

    fn advance(&mut self, bytes: usize, lines: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.line += lines;
    }

    /// The bytes up to the first end of a line outside quotes, and how many lines that are; the first line alone when
    /// there is no such end near.
    fn record(&self, first: usize) -> (&'a [u8], usize) {
        let mut length = first;
        for lines in 1..=self.lines_max {
            let record = self.rest.get(..length).unwrap_or_default();
            if is_closed(record) {
                return (record, lines);
            }
            length += first_line(self.rest.get(length..).unwrap_or_default()).len();
        }
        (self.rest.get(..first).unwrap_or_default(), 1)
    }
}

/// The first line with its end.
fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn is_closed(record: &[u8]) -> bool {
    record.iter().filter(|byte| **byte == b'"').count() % 2 == 0
}

/// What is said of a row with too many or too few cells.
pub(super) fn check_count(cells: &[String], columns: usize) -> Result<(), Vec<Invalid>> {
    let count = cells.len();
    if count == columns { Ok(()) } else { Err(broken(&format!("must have {columns} cells, has {count}"))) }
}

fn broken(message: &str) -> Vec<Invalid> {
    vec![Invalid::new("row", "row_malformed", message)]
}

fn cells(record: &[u8]) -> Result<Vec<String>, Vec<Invalid>> {
    if !is_closed(record) {
        return Err(broken("a quote is opened and not closed; a quote inside a quoted cell is written twice"));
    }
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let (mut output, mut ends) = (vec![0; record.len() + 1], vec![0; record.len() + 1]);
    let mut reader = Reader::new();
    let (_, read, written, found) = reader.read_record(record, &mut output, &mut ends);
    let (result, _, _, last) = reader.read_record(
        &[],
        output.get_mut(written..).unwrap_or_default(),
        ends.get_mut(found..).unwrap_or_default(),
    );
    if read < record.len() || result != ReadRecordResult::Record {
        return Err(broken("a line break that does not belong to CSV"));
    }
    let mut cells = Vec::new();
    let mut begin = 0;
    for end in ends.into_iter().take(found + last) {
        let cell = output.get(begin..end).unwrap_or_default();
        cells.push(std::str::from_utf8(cell).map_err(|_| vec![not_utf8("row")])?.trim().to_owned());
        begin = end;
    }
    Ok(cells)
}
