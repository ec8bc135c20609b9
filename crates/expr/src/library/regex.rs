//! `'abc 123'.find('[0-9]+')` and `findAll`. `matches` stands with the functions of CEL itself.

use cel::common::types::{CelInt, CelList, CelString};
use cel::common::value::{CowVal, Val};

use super::{Fault, said, text};
use crate::functions::{Answer, Args, Own, PIECE, cannot, charged, searched};

pub(super) static OWN: &[Own] = &[("find", 2, find), ("findAll", 2, find_all), ("findAll", 3, find_all)];

fn find<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let subject = text(&args, 0).ok_or_else(|| cannot("find", &args))?;
    let pattern = searched("find", &meter, &args, subject)?;
    Ok(said(pattern.regex.find(subject).map_or("", |found| found.as_str())))
}

fn find_all<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let subject = text(&args, 0).ok_or_else(|| cannot("findAll", &args))?;
    let most = match args.get(2) {
        None => usize::MAX,
        Some(most) => match most.downcast_ref::<CelInt>().map(|n| *n.inner()) {
            Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
            None => return Err(cannot("findAll", &args)),
        },
    };
    let pattern = searched("findAll", &meter, &args, subject)?;
    let mut pieces: Vec<Box<dyn Val + 'v>> = Vec::new();
    for found in pattern.regex.find_iter(subject).take(most) {
        // Each search may read on to the end of the text before it knows that it found something shorter.
        let left = (subject.len() - found.end()) as u64;
        meter.weight(PIECE.saturating_add(left))?;
        pieces.push(Box::new(CelString::from(found.as_str().to_owned())));
    }
    Ok::<_, Fault>(CowVal::owned(CelList::from(pieces)))
}
