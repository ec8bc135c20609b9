//! In: the head and body of a request. Out: the [`Action`] that it asks for.
//! Refuses: what the API server and we could read differently, client-side impersonation, masked values on the move, encoded bodies, bodies beyond 3 MiB or slower than a minute.
//! Does not judge, and reads no header but those named here.

use http::HeaderMap;
use mantlet_core::action::{
    Action, Answer, Head, Unreadable, UnreadableStatus, headers, impersonates, parse, wants_upgrade as wanted,
};
use mantlet_core::mask::guard;

use super::limits::Room;
use super::{Ask, authority, body};
use crate::relay::refuse::Refusal;

/// Reads the request to its end and says what it means.
///
/// # Cancel safety
/// Nothing has happened yet; dropping it drops the request.
pub(crate) async fn resolve(ask: &mut Ask, room: &mut Room) -> Result<Action, Refusal> {
    refuse_impersonation(&ask.parts.headers)?;
    refuse_absolute_form(&ask.parts)?;
    authority::refuse_doubt(&ask.parts)?;
    let said = headers(written(&ask.parts.headers)).map_err(Refusal::NotUnderstood)?;
    let head = Head {
        method: ask.parts.method.as_str(),
        path: &ask.path,
        query: ask.parts.uri.query(),
        accept: &said.accept,
        content_type: said.content_type,
        upgrade: said.upgrade,
    };
    let outline = parse(&head).map_err(Refusal::NotUnderstood)?;
    let body = match ask.body.take() {
        Some(unread) if outline.wants_body() => body::read(unread, room, body::TIME).await?,
        Some(_) | None => None,
    };
    let action = outline.complete(body).map_err(Refusal::NotUnderstood)?;
    refuse_placeholders(&action)?;
    refuse_moved_values(&action)?;
    Ok(action)
}

/// What was masked on its way out would overwrite the value on its way back (`get -o yaml | apply`).
fn refuse_placeholders(action: &Action) -> Result<(), Refusal> {
    let Some(Err(fields)) = action.body().map(guard::placeholders) else {
        return Ok(());
    };
    let fields = fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(unreadable(
        UnreadableStatus::Unprocessable,
        &format!(
            "nothing changed: {fields} hold a placeholder of this gateway instead of the value. Leave these fields out (kubectl patch, kubectl annotate), or write the real values"
        ),
    ))
}

/// What a read masks, a patch must not copy to where it is not masked, nor compare with a guess.
fn refuse_moved_values(action: &Action) -> Result<(), Refusal> {
    let secret = matches!(action.answer(), Answer::Masked { secret: true });
    let Some(Err(operation)) = action.body().filter(|_| secret).map(guard::moved_values) else {
        return Ok(());
    };
    Err(Refusal::NotServed(format!(
        "nothing changed: {operation} in the JSON patch takes or compares a masked value of the Secret. Patches of Secrets cannot copy, move or test their values through this gateway; write the values themselves"
    )))
}

/// Dropping the headers would act as somebody else than the client meant; so they are refused, and the refusal says so.
fn refuse_impersonation(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.keys().any(|name| impersonates(name.as_str())) {
        false => Ok(()),
        true => Err(Refusal::NotServed(
            "impersonation is not possible through this gateway: remove --as, --as-group, --as-uid (and `as` in the kubeconfig) and act as yourself".into(),
        )),
    }
}

/// RFC 9112 3.2.2: a host in the request line is for proxies. This is none, and who thinks otherwise shall know. HTTP/2 always names it.
fn refuse_absolute_form(parts: &http::request::Parts) -> Result<(), Refusal> {
    let named = parts.version < http::Version::HTTP_2 && parts.uri.scheme().is_some();
    match named {
        false => Ok(()),
        true => Err(unreadable(
            UnreadableStatus::BadRequest,
            "the request line names a host; send a path, beginning with one slash",
        )),
    }
}

/// Whoever could be taken for an upgrade by the API server is one here.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    wanted(written(headers))
}

fn written(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn unreadable(status: UnreadableStatus, message: &str) -> Refusal {
    Refusal::NotUnderstood(Unreadable {
        status,
        message: message.to_owned(),
    })
}
