//! How the cost of a message grows: with receivers, connections, publishers, payload,
//! subscriptions, accounts, peers; and with TLS. Server CPU per delivery of two servers, in turns,
//! as a table. And what a subscriber gets beside one that does not read (the axis `neighbour`).
//!
//! `curves --stock nats-server --natsd natsd [--rounds N] [--millis N] [AXIS..]`
//!
//! Complements natsload, which measures one point of each. The server runs on core 0, this
//! program on the others. Exit status 1 when a count was not exact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a measuring program: what fails ends it, and its output is its purpose"
)]

mod curves {
    pub(crate) mod load;
    pub(crate) mod neighbour;
    pub(crate) mod points;
}

use std::path::PathBuf;

use blackbox::server::Binary;
use curves::load::{self, Sample};
use curves::neighbour;
use curves::points::{self, Point};

struct Options {
    stock: PathBuf,
    natsd: PathBuf,
    rounds: usize,
    millis: u64,
    axes: Vec<String>,
}

fn options() -> Options {
    let (mut stock, mut natsd) = (None, None);
    let (mut rounds, mut millis, mut axes) = (3, 700, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
        match arg.as_str() {
            "--stock" => stock = Some(PathBuf::from(value())),
            "--natsd" => natsd = Some(PathBuf::from(value())),
            "--rounds" => rounds = value().parse().expect("--rounds wants a number"),
            "--millis" => millis = value().parse().expect("--millis wants a number"),
            _ => axes.push(arg),
        }
    }
    let stock = stock.expect("--stock names the nats-server to compare with");
    Options { stock, natsd: natsd.expect("--natsd names the natsd"), rounds, millis, axes }
}

fn main() {
    let options = options();
    load::leave_the_first_core();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = [Binary::at(options.stock), Binary::at(options.natsd)];
    println!("| axis | value | nats-server ns | natsd ns | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for point in points::all() {
        if !options.axes.is_empty() && !options.axes.contains(&point.axis.to_owned()) {
            continue;
        }
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (server, samples) in servers.iter().zip(&mut samples) {
                samples.push(runtime.block_on(load::measure(server, &point, options.millis)));
            }
        }
        print_row(&point, &samples);
    }
    if options.axes.is_empty() || options.axes.iter().any(|axis| axis == "neighbour") {
        let shares: Vec<Vec<f64>> =
            servers.iter().map(|server| runtime.block_on(neighbour::measure(server, 3))).collect();
        print_shares(&shares);
    }
}

fn print_shares(shares: &[Vec<f64>]) {
    let [stock, natsd] = shares else { return };
    println!("\n| seconds since a neighbour does not read | nats-server | natsd |");
    println!("| --- | ---: | ---: |");
    for (second, (stock, natsd)) in stock.iter().zip(natsd).enumerate() {
        println!("| {} | {:.0} % | {:.0} % |", second + 1, stock * 100.0, natsd * 100.0);
    }
}

fn print_row(point: &Point, samples: &[Vec<Sample>; 2]) {
    let [stock, natsd] = samples;
    let mut ratios: Vec<f64> = stock.iter().zip(natsd).map(|(a, b)| b.nanos / a.nanos).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "| {} | {} | {:.0} | {:.0} | {:.2} [{:.2}..{:.2}] |",
        point.axis,
        point.value,
        median(stock),
        median(natsd),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

fn median(samples: &[Sample]) -> f64 {
    let mut nanos: Vec<f64> = samples.iter().map(|sample| sample.nanos).collect();
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}
