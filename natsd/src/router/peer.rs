//! A message to a peer server: once, whatever it is for there.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Publisher;
use crate::account::{Account, Link};
use crate::log::{
    self,
    wire::{self, Way},
};
use crate::protocol::message::Message;

/// A peer server and the queue groups that are directed to it.
pub(super) type Directed<'m> = SmallVec<[(&'m Arc<Link>, SmallVec<[&'m [u8]; 2]>); 4]>;

impl Publisher {
    /// Appends RMSG or HMSG for a peer, once per message whatever it is for there.
    pub(super) fn send_to_peer(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        link: &Arc<Link>,
        queues: &[&[u8]],
    ) {
        let Some(mut queue) = link.outbound.append() else { return };
        let mut line: SmallVec<[&[u8]; 16]> = SmallVec::new();
        line.push(if message.has_headers() && link.headers { b"HMSG " } else { b"RMSG " });
        if !link.is_dedicated() {
            line.extend([account.name.as_bytes(), b" "]);
        }
        line.extend([message.subject, b" "]);
        let directed = directed(message, queues, link.headers);
        match &directed {
            None => self.write(&mut queue, message, &line),
            Some((sizes, message)) => {
                queue.put_all(&line, &[sizes, message.body]);
                queue.count_message(message.size());
            }
        }
        let appended = queue.finish();
        self.tally.count(account, message.size());
        if log::tracing_wire() {
            let (sizes, message) = match &directed {
                None => (self.sizes_of(message), message),
                Some((sizes, message)) => (&**sizes, message),
            };
            let line = [&*line.concat(), sizes.trim_ascii_end()].concat();
            wire::op(&link.label, Way::Out, &String::from_utf8_lossy(&line));
            wire::payload(&link.label, Way::Out, message.body, message.header_len);
        }
        self.note_appended(&link.outbound, &appended, message);
    }
}

/// Directs a queue group to a peer, along with whatever else goes there.
pub(super) fn direct<'m>(directed: &mut Directed<'m>, link: &'m Arc<Link>, queue: &'m [u8]) {
    match directed.iter_mut().find(|(held, _)| held.peer == link.peer) {
        Some((_, queues)) => queues.push(queue),
        None => directed.push((link, SmallVec::from_slice(&[queue]))),
    }
}

/// What stands behind the subject, and the message as the peer gets it, where that is not as it
/// came: `+ reply queues.. sizes` or `| queues.. sizes`, headers stripped for a peer that does not
/// know them.
fn directed<'m>(
    message: &Message<'m>,
    queues: &[&[u8]],
    headers: bool,
) -> Option<(Vec<u8>, Message<'m>)> {
    if queues.is_empty() && (headers || !message.has_headers()) {
        return None;
    }
    let body = if headers {
        message.body
    } else {
        message.body.get(message.header_len..).unwrap_or_default()
    };
    let plain = Message {
        reply: &[],
        header_len: if headers { message.header_len } else { 0 },
        body,
        tail: &[],
        shared: None,
        ..*message
    };
    let mut text = Vec::with_capacity(128);
    match (queues.is_empty(), message.reply.is_empty()) {
        (true, true) => {}
        (true, false) => text.extend([message.reply, b" "].concat()),
        (false, true) => text.extend_from_slice(b"| "),
        (false, false) => text.extend([b"+ ", message.reply, b" "].concat()),
    }
    for name in queues {
        text.extend_from_slice(name);
        text.push(b' ');
    }
    plain.write_sizes(&mut text);
    Some((text, plain))
}
