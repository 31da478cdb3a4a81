//! The smallest story that still shows a difference.

use std::ops::Range;

use crate::story::{Act, Step};

/// Leaves out what is not needed: steps first, then lines of what is sent.
pub(crate) async fn shrink(
    mut steps: Vec<Step>,
    mut differs: impl AsyncFnMut(&[Step]) -> bool,
) -> Vec<Step> {
    let mut chunk = steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let fewer = without(&steps, at..(at + chunk).min(steps.len()));
            match differs(&fewer).await {
                true => steps = fewer,
                false => at += chunk,
            }
        }
        chunk /= 2;
    }
    for at in 0..steps.len() {
        for simpler in simpler(&steps[at]) {
            let mut other = steps.clone();
            other[at] = simpler;
            if other != steps && differs(&other).await {
                steps = other;
            }
        }
    }
    steps
}

fn without(steps: &[Step], gap: Range<usize>) -> Vec<Step> {
    let (before, behind) = (&steps[..gap.start], &steps[gap.end..]);
    [before, behind].concat()
}

/// The same in one packet, and without each one of its lines.
fn simpler(step: &Step) -> Vec<Step> {
    let bytes = match &step.act {
        Act::Open => return Vec::new(),
        Act::Send(bytes) | Act::Cut(bytes, _) => bytes,
    };
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let mut simpler = vec![Step::send(step.who, bytes.clone())];
    if lines.len() < 8 {
        for gone in 0..lines.len() {
            let kept = lines.iter().enumerate().filter(|(at, _)| *at != gone);
            let kept: Vec<u8> = kept.flat_map(|(_, line)| line.iter().copied()).collect();
            simpler.push(Step::send(step.who, kept));
        }
    }
    simpler
}
