//! What the claims of an issuer mean: the names, uid and extra that they become, and the rules that they must meet.
//!
//! In: the claims of a token. Out: what a [`Mapping`] makes of them ([`Mapped`]). Refuses a claim that is missing or of another type, a name
//! that no cluster may see, a rule that does not hold, and an expression that errs: never a pass. `resolve` makes the mapping of what was
//! written.
//! The order is upstream's (`plugin/pkg/authenticator/token/oidc/oidc.go`, AuthenticateToken): names first, then the rules about claims, then
//! those about the user.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::claims;
use super::expression::{Expression, Subject, Unclear};
use super::token::{MOST_BYTES, NameProblem, TokenFault};

mod resolve;

/// Where upstream puts the id of a token (apiserver `pkg/authentication/user/user.go`, CredentialIDKey).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// How the claims of one issuer are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    username: Name,
    groups: Option<Name>,
    uid: Option<Uid>,
    extra: Vec<Extra>,
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

/// A claim and what is put before its value to make a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameClaim {
    pub(crate) claim: String,
    pub(crate) prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Claim(NameClaim),
    Expression(Placed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Uid {
    Claim(String),
    Expression(Placed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    key: String,
    value: Placed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    expression: Placed,
    message: String,
}

/// An expression and where it stands, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    path: String,
    expression: Expression,
}

/// Whom the claims name.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) username: String,
    pub(crate) groups: Vec<String>,
    pub(crate) uid: String,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl Mapped {
    /// Somebody who has a name and nothing else.
    pub(super) fn named(username: String) -> Self {
        Self {
            username,
            groups: Vec::new(),
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }
}

impl Mapping {
    #[cfg(test)]
    pub(super) fn username_claim(&self) -> Option<&NameClaim> {
        match &self.username {
            Name::Claim(claim) => Some(claim),
            Name::Expression(_) => None,
        }
    }

    pub(super) fn apply(&self, claims: &Map<String, Value>) -> Result<Mapped, TokenFault> {
        let subject = Subject::claims(claims);
        let mapped = Mapped {
            username: self.username(claims, &subject)?,
            groups: self.groups(claims, &subject)?,
            uid: self.uid(claims, &subject)?,
            extra: self.extra(&subject)?,
        };
        for (claim, value) in &self.required {
            if claims::text(claims, claim)? != value {
                return Err(TokenFault::Required(claim.clone()));
            }
        }
        for rule in &self.claim_rules {
            rule.check(&subject)?;
        }
        if !self.user_rules.is_empty() {
            let subject = mapped.subject(claims);
            for rule in &self.user_rules {
                rule.check(&subject)?;
            }
        }
        Ok(mapped)
    }

    fn username(&self, claims: &Map<String, Value>, subject: &Subject) -> Result<String, TokenFault> {
        match &self.username {
            Name::Claim(mapping) => claims::username(claims, mapping),
            Name::Expression(placed) => {
                let name = placed.text(subject)?;
                claims::check_name("", &name).map_err(placed.names())?;
                Ok(name)
            }
        }
    }

    fn groups(&self, claims: &Map<String, Value>, subject: &Subject) -> Result<Vec<String>, TokenFault> {
        match &self.groups {
            None => Ok(Vec::new()),
            Some(Name::Claim(mapping)) => claims::groups(claims, mapping),
            Some(Name::Expression(placed)) => {
                let groups = placed.texts(subject)?;
                for group in &groups {
                    claims::check_name("", group).map_err(placed.names())?;
                }
                Ok(groups)
            }
        }
    }

    /// Empty: none.
    fn uid(&self, claims: &Map<String, Value>, subject: &Subject) -> Result<String, TokenFault> {
        let (uid, from) = match &self.uid {
            None => return Ok(String::new()),
            Some(Uid::Claim(claim)) => (claims::text(claims, claim)?.to_owned(), claim),
            Some(Uid::Expression(placed)) => (placed.text(subject)?, &placed.path),
        };
        check_value(from, &uid)?;
        Ok(uid)
    }

    fn extra(&self, subject: &Subject) -> Result<BTreeMap<String, Vec<String>>, TokenFault> {
        let mut extra = BTreeMap::new();
        for mapping in &self.extra {
            let values = mapping.value.texts(subject)?;
            for value in &values {
                check_value(&mapping.value.path, value)?;
            }
            if !values.is_empty() {
                extra.insert(mapping.key.clone(), values);
            }
        }
        Ok(extra)
    }
}

impl Mapped {
    /// As rules about the user see it: with the id of the token, which goes no further.
    fn subject(&self, claims: &Map<String, Value>) -> Subject {
        let mut extra = json!(self.extra);
        if let (Some(id), Some(extra)) = (claims.get("jti").and_then(Value::as_str), extra.as_object_mut())
            && !id.is_empty()
        {
            extra.insert(CREDENTIAL_ID.to_owned(), json!([format!("JTI={id}")]));
        }
        Subject::user(json!({"username": self.username, "uid": self.uid, "groups": self.groups, "extra": extra}))
    }
}

impl Rule {
    fn check(&self, subject: &Subject) -> Result<(), TokenFault> {
        match self.expression.expression.holds(subject) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TokenFault::Rule {
                path: self.expression.path.clone(),
                message: self.message.clone(),
            }),
            Err(unclear) => Err(self.expression.unclear(unclear)),
        }
    }
}

impl Placed {
    fn text(&self, subject: &Subject) -> Result<String, TokenFault> {
        let text = self.expression.text(subject).map_err(|unclear| self.unclear(unclear))?;
        self.check_size(std::slice::from_ref(&text))?;
        Ok(text)
    }

    fn texts(&self, subject: &Subject) -> Result<Vec<String>, TokenFault> {
        let texts = self
            .expression
            .texts(subject)
            .map_err(|unclear| self.unclear(unclear))?;
        self.check_size(&texts)?;
        Ok(texts)
    }

    /// An expression can make much of a short token; headers and records hold what it makes.
    fn check_size(&self, texts: &[String]) -> Result<(), TokenFault> {
        let bytes: usize = texts.iter().map(|text| text.len() + 8).sum();
        match bytes > MOST_BYTES {
            true => Err(self.unclear(Unclear("the result is larger than 16 KiB".into()))),
            false => Ok(()),
        }
    }

    fn unclear(&self, Unclear(why): Unclear) -> TokenFault {
        TokenFault::Unclear {
            path: self.path.clone(),
            why,
        }
    }

    fn names(&self) -> impl FnOnce(NameProblem) -> TokenFault {
        |problem| TokenFault::Name {
            claim: self.path.clone(),
            problem,
        }
    }
}

/// A value that will stand in a header of its own: it may be anything that can be seen.
fn check_value(from: &str, value: &str) -> Result<(), TokenFault> {
    match value.chars().any(claims::is_unprintable) || value.trim() != value {
        true => Err(TokenFault::Name {
            claim: from.to_owned(),
            problem: NameProblem::Unprintable,
        }),
        false => Ok(()),
    }
}
