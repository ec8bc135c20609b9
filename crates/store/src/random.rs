//! Random bytes. The generator of aws-lc does not fail once the process runs; were it to, nothing may go on with guessable ids.

use aws_lc_rs::rand;

use crate::StoreFault;

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], StoreFault> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| StoreFault::Failed(String::from("the system gives no random bytes")))?;
    Ok(bytes)
}
