//! Plays every golden transcript of `tests/wire/` against the server under test: once as
//! written, once with every byte in a packet of its own.
//!
//! The same files run against the reference server by `NATSD_UNDER_TEST=path/to/nats-server`;
//! where the two disagree, natsd is wrong. `cargo test --test wire -- NAME` plays one.

use std::path::Path;
use std::process::ExitCode;

use blackbox::server::Binary;
use blackbox::transcript::{self, Packets, Transcript};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let stock = std::env::var_os("NATSD_UNDER_TEST").is_some() && Binary::under_test().is_stock();
    let mut trials = Vec::new();
    for (name, transcript) in transcript::all(&directory) {
        match transcript {
            Err(error) => trials.push(Trial::test(name, move || Err(Failed::from(error)))),
            Ok(transcript) => {
                let lacks = !stock && transcript.natsd_lacks.is_some();
                if transcript.whole.is_none() {
                    let name = format!("{name} (byte by byte)");
                    let again = transcript.clone();
                    trials.push(trial(name, again, Packets::Bytewise).with_ignored_flag(lacks));
                }
                trials.push(trial(name, transcript, Packets::Whole).with_ignored_flag(lacks));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: String, transcript: Transcript, packets: Packets) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(transcript.play(&Binary::under_test(), packets))?;
        Ok(())
    })
}
