//! The form in which a receiver gets a message: MSG or HMSG, and what all forms share.

use bytes::Bytes;

use super::Publisher;
use crate::account::LocalTarget;
use crate::log::wire::{self, Way};
use crate::outbound::{Append, LENT_BODY_BYTES, SHARED_BODY_BYTES};
use crate::protocol::message::{Frame, Message, Shared};

impl Publisher {
    /// Renders what stands between subject and body, unless the input holds it.
    pub(super) fn set_sizes(&mut self, message: &Message<'_>) {
        self.sizes.clear();
        if message.tail.is_empty() {
            message.write_sizes(&mut self.sizes);
        }
    }

    /// Logs MSG or HMSG.
    pub(super) fn log_delivery(&self, target: &LocalTarget, message: &Message<'_>, head: &[u8]) {
        let label = target.subscriber.label();
        let stripped = message.has_headers() && !target.subscriber.headers();
        let (mut sizes, mut body) = (self.sizes_of(message).to_vec(), message.body);
        if stripped {
            body = body.get(message.header_len..).unwrap_or_default();
            sizes.clear();
            Message { header_len: 0, body, ..*message }.write_sizes(&mut sizes);
        }
        let with_headers = message.has_headers() && !stripped;
        let head = if with_headers { head } else { head.get(1..).unwrap_or_default() };
        let line = [head, target.sid_and_blank(), sizes.trim_ascii_end()].concat();
        wire::op(&label, Way::Out, &String::from_utf8_lossy(&line));
        wire::payload(&label, Way::Out, body, if with_headers { message.header_len } else { 0 });
    }

    /// Appends MSG or HMSG.
    pub(super) fn write_frame(
        &self,
        queue: &mut Append<'_>,
        target: &LocalTarget,
        message: &Message<'_>,
        head: &[u8],
    ) {
        if message.has_headers() && !target.subscriber.headers() {
            return write_without_headers(queue, target, message, head);
        }
        let head = if message.has_headers() { head } else { head.get(1..).unwrap_or_default() };
        self.write(queue, message, &[head, target.sid_and_blank()]);
    }

    /// Appends a control line and the body, in as few pieces as there are.
    pub(super) fn write(&self, queue: &mut Append<'_>, message: &Message<'_>, line: &[&[u8]]) {
        if let Some(shared) = message.shared {
            queue.put_all(line, &[self.sizes_of(message)]);
            match shared {
                Shared::Own(body) => queue.share(body),
                Shared::Lent(body) => queue.lend(body),
            }
        } else if message.tail.is_empty() {
            queue.put_all(line, &[&self.sizes, message.body]);
        } else {
            queue.put_all(line, &[message.tail]);
        }
        queue.count_message(message.size());
    }

    /// `[reply ][header size ]size CRLF`, from the input where it stands there.
    pub(super) fn sizes_of<'a>(&'a self, message: &Message<'a>) -> &'a [u8] {
        let len = message.tail.len().saturating_sub(message.body.len());
        message.tail.get(..len).filter(|sizes| !sizes.is_empty()).unwrap_or(&self.sizes)
    }
}

/// Makes a body shareable if it is large: then it goes to every receiver without a copy. `frame`
/// holds it, or it is copied once.
#[must_use]
pub fn share(body: &[u8], frame: Option<Frame<'_>>) -> Option<Shared> {
    match frame {
        Some(Frame::Lent(buffer)) => {
            (body.len() >= LENT_BODY_BYTES).then(|| Shared::Lent(buffer.slice_ref(body)))
        }
        _ if body.len() < SHARED_BODY_BYTES => None,
        Some(Frame::Own(frame)) => Some(Shared::Own(frame.slice_ref(body))),
        None => Some(Shared::Own(Bytes::copy_from_slice(body))),
    }
}

/// Appends MSG without the header block, for a client that did not ask for headers.
fn write_without_headers(
    queue: &mut Append<'_>,
    target: &LocalTarget,
    message: &Message<'_>,
    head: &[u8],
) {
    let body = message.body.get(message.header_len..).unwrap_or_default();
    let plain = Message { header_len: 0, body, tail: &[], shared: None, ..*message };
    let mut sizes = Vec::with_capacity(64);
    plain.write_sizes(&mut sizes);
    let head = head.get(1..).unwrap_or_default();
    queue.put_all(&[head, target.sid_and_blank()], &[&sizes, body]);
    queue.count_message(plain.size());
}
