//! What several fuzz targets share.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::path::Path;

use natsd::config::conf::Surroundings;
use natsd::protocol::line::{Need, ParseError, Step};

#[path = "../../natsd/tests/paper/mod.rs"]
pub mod paper;

/// Reads all ops of an input, and each once more from an input that is cut after `cut` bytes:
/// the shorter one may ask for more or say the same, and nothing else.
///
/// # Panics
/// When the parser contradicts itself.
pub fn check_parser<'a, Op: Debug>(
    cut: usize,
    mut input: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<Step<Op>, ParseError>,
) {
    while !input.is_empty() {
        let whole = parse(input);
        let short = &input[..cut.min(input.len())];
        if !short.is_empty() {
            check_cut(&parse(short), &whole, short.len());
        }
        match whole {
            Ok(Step::Op(_, used)) => {
                assert!(used > 0 && used <= input.len(), "{used} bytes of {}", input.len());
                input = &input[used..];
            }
            Ok(Step::More(need)) => return check_need(need, input.len()),
            Err(_) => return,
        }
    }
}

fn check_cut<Op: Debug>(
    short: &Result<Step<Op>, ParseError>,
    whole: &Result<Step<Op>, ParseError>,
    len: usize,
) {
    match short {
        Ok(Step::More(need)) => check_need(*need, len),
        Ok(Step::Op(..)) => assert_eq!(format!("{short:?}"), format!("{whole:?}")),
        Err(error) => assert!(whole.is_err(), "cut at {len}: {error}, whole: {whole:?}"),
    }
}

fn check_need(need: Need, len: usize) {
    if let Need::Bytes(total) = need {
        assert!(total > len, "{len} bytes are there and {total} are asked for");
    }
}

/// The files of a configuration, all in one input: a line `=== NAME` starts the file of that
/// name; what stands before the first is `x.conf`.
#[derive(Debug, Default)]
pub struct Desk {
    files: HashMap<String, Vec<u8>>,
}

impl Desk {
    /// Takes an input apart.
    pub fn new(input: &[u8]) -> Self {
        let mut files = HashMap::from([("x.conf".to_owned(), Vec::new())]);
        let mut name = "x.conf".to_owned();
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            if let Some(next) = line.strip_prefix(b"=== ") {
                name = String::from_utf8_lossy(next.trim_ascii()).into_owned();
            } else {
                files.entry(name.clone()).or_default().extend_from_slice(line);
            }
        }
        Self { files }
    }
}

impl Surroundings for Desk {
    fn variable(&self, name: &str) -> Option<String> {
        // A file `$NAME` stands for the environment variable.
        let text = self.files.get(&format!("${name}"))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }
}
