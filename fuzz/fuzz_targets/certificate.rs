//! Certificates that peers show: no panic, and what is read is of what was shown.
//!
//! The first byte says where the input is cut into a certificate and an authority.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::tls::{Certificate, chain};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else { return };
    let cut = data.len() * usize::from(cut) / 255;
    let (shown, authority) = data.split_at(cut);
    let Some(certificate) = Certificate::parse(shown) else { return };
    assert_eq!(certificate.der, shown);
    assert_eq!(certificate.digest.len(), 64);
    let shown = [certificate.clone(), certificate];
    let way = chain(&shown, &[authority.to_vec(), shown[0].der.clone()]);
    assert!((1..=2).contains(&way.len()), "each is on the way once: {way:?}");
});
