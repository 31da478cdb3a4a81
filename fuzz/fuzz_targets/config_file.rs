//! A whole configuration file to a checked configuration: no panic, every refusal says why.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use natsd::config::file::load_from;
use natsd_fuzz::Desk;

fuzz_target!(|data: &[u8]| {
    let desk = Desk::new(data);
    match load_from(Path::new("x.conf"), &desk) {
        Ok(loaded) => {
            let again = load_from(Path::new("x.conf"), &desk);
            let digest = |source: Option<natsd::config::Source>| source.map(|source| source.digest);
            let again = again.map(|loaded| digest(loaded.config.source));
            assert_eq!(again, Ok(digest(loaded.config.source)));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }
});
