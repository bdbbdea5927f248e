//! The README and its Chinese twin say the same.

use super::read;

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

#[derive(Default)]
struct Page {
    /// The level of each heading.
    levels: Vec<usize>,
    /// Language and text of each fenced block.
    blocks: Vec<(String, String)>,
    /// Rows of tables.
    rows: usize,
}

impl Page {
    fn read(path: &str) -> Self {
        let mut page = Self::default();
        let mut open = false;
        for line in read(path).lines() {
            if let Some(language) = line.strip_prefix("```") {
                open = !open;
                if open {
                    page.blocks.push((language.to_owned(), String::new()));
                }
            } else if open {
                let (_, text) = page.blocks.last_mut().unwrap();
                text.push_str(line);
                text.push('\n');
            } else if line.starts_with('#') {
                page.levels.push(line.chars().take_while(|letter| *letter == '#').count());
            } else if line.starts_with('|') {
                page.rows += 1;
            }
        }
        assert!(!open, "{path}: a code block is not closed");
        page
    }
}

#[test]
fn both_readmes_have_the_same_headings_blocks_and_tables() {
    let (english, chinese) = (Page::read(ENGLISH), Page::read(CHINESE));
    assert_eq!(english.levels, chinese.levels, "levels of the headings");
    assert_eq!(english.blocks.len(), chinese.blocks.len(), "number of code blocks");
    for (english, chinese) in english.blocks.iter().zip(&chinese.blocks) {
        assert_eq!(english, chinese);
    }
    assert_eq!(english.rows, chinese.rows, "rows of the tables");
}

/// A twin that is much shorter is a summary. Chinese needs about half as many characters as English.
#[test]
fn the_chinese_readme_is_no_summary() {
    let prose = |path: &str| {
        let text = read(path);
        let outside = text.split("```").step_by(2);
        outside.flat_map(str::chars).filter(|letter| letter.is_alphanumeric()).count()
    };
    let (english, chinese) = (prose(ENGLISH), prose(CHINESE));
    assert!(chinese * 10 >= english * 3, "{chinese} characters for {english}");
}

#[test]
fn the_first_shell_block_is_the_demo_and_the_tests() {
    for path in [ENGLISH, CHINESE] {
        let page = Page::read(path);
        let (_, first) = page.blocks.iter().find(|(language, _)| language == "sh").unwrap();
        assert_eq!(first, "cargo run -- demo\n./check\n", "{path}");
    }
}

#[test]
fn every_file_that_the_readmes_name_is_there() {
    let named = |text: &str| -> Vec<String> {
        // Odd parts are inside back quotes.
        let quoted = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
        let is_path = |name: &&str| {
            ["crates/", "functions/", "infra/", "tests/", "docs/", "template.yaml"]
                .iter()
                .any(|folder| name.starts_with(folder))
                && !name.contains(['<', '*', '{', ' '])
        };
        quoted.filter(is_path).map(str::to_owned).collect()
    };
    let missing: Vec<String> = [ENGLISH, CHINESE]
        .iter()
        .flat_map(|path| named(&read(path)))
        .filter(|name| !super::root().join(name).exists())
        .collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}
