//! Whether an account may take what it imports.

use super::Claims;
use crate::config::{ServiceImport, StreamImport};
use crate::jwt::{self, Activation, Export, ExportKind, Import, Issues, Token, UnixSeconds};
use crate::subject;

/// An import as a configuration file would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// Of a stream.
    Stream(StreamImport),
    /// Of a service.
    Service(ServiceImport),
}

/// Why an import has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAuthorized(pub &'static str);

/// Reads an import; the names of old and new tokens for the two subjects differ.
#[must_use]
pub fn imported(import: &Import) -> Imported {
    let Import { subject, account, to, local_subject, share, allow_trace, .. } = import;
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if import.kind == ExportKind::Service {
        let (theirs, ours) = match (filled(local_subject), filled(to)) {
            (Some(ours), _) => (subject.clone(), ours),
            (None, Some(theirs)) => (theirs, subject.clone()),
            (None, None) => (subject.clone(), subject.clone()),
        };
        return Imported::Service(ServiceImport {
            account: account.clone(),
            subject: theirs,
            to: ours,
            share: *share,
        });
    }
    let ours = filled(local_subject);
    Imported::Stream(StreamImport {
        account: account.clone(),
        subject: subject.clone(),
        prefix: if ours.is_some() { None } else { filled(to) },
        to: ours,
        allow_trace: *allow_trace,
    })
}

impl Claims {
    /// Whether another account may import something of this one; gives the time when its leave
    /// ends, 0 for never.
    ///
    /// # Errors
    /// When it may not.
    pub fn lets_import(
        &self,
        importer: &str,
        import: &Import,
        now: UnixSeconds,
    ) -> Result<UnixSeconds, NotAuthorized> {
        let theirs = match imported(import) {
            Imported::Stream(stream) => stream.subject,
            Imported::Service(service) => service.subject,
        };
        let export = self.export(import.kind, &theirs);
        let export = export.ok_or(NotAuthorized("there is no such export"))?;
        let position = usize::try_from(export.account_token_position).unwrap_or(usize::MAX);
        if position > 0 {
            let named = theirs.split('.').nth(position - 1) == Some(importer);
            return if named { Ok(0) } else { Err(NotAuthorized("it is another account's")) };
        }
        if export.token_req {
            return self.activation(importer, import, export, now);
        }
        Ok(0)
    }

    fn export(&self, kind: ExportKind, theirs: &str) -> Option<&Export> {
        let of_kind = || self.account.exports.iter().filter(|export| export.kind == kind);
        of_kind().find(|export| export.subject == theirs).or_else(|| {
            of_kind()
                .find(|export| subject::is_subset(theirs.as_bytes(), export.subject.as_bytes()))
        })
    }

    /// Whether an import has a token that lets it; gives when that ends.
    fn activation(
        &self,
        importer: &str,
        import: &Import,
        export: &Export,
        now: UnixSeconds,
    ) -> Result<UnixSeconds, NotAuthorized> {
        let mut issues = Issues::default();
        jwt::check_import(import, importer, &mut issues);
        if import.token.is_empty() || issues.are_blocking() {
            return Err(NotAuthorized("it has no activation token that fits"));
        }
        let token = Token::<Activation>::decode(&import.token)
            .map_err(|_not_one| NotAuthorized("its activation token is not valid"))?;
        let Token { standard, body } = &token;
        let own = body.issuer_account.is_empty();
        let by_signer =
            self.standard.subject == body.issuer_account && self.signer(&standard.issuer).is_some();
        if !own && !by_signer {
            return Err(NotAuthorized("its activation token is of another issuer"));
        }
        let late = standard.expires != 0 && standard.expires <= now;
        if late || token.validate(now).are_blocking() {
            return Err(NotAuthorized("its activation token is not valid now"));
        }
        if jwt::is_revoked(&export.revocations, &standard.subject, standard.issued_at) {
            return Err(NotAuthorized("its activation token is revoked"));
        }
        Ok(standard.expires)
    }
}
