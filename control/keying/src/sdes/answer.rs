//! Whether an answer accepts what was offered (RFC 4568 sections 5.1.3, 7.1.3).

use super::decode::same_master_key;
use super::{CryptoLine, Parameter, SdesError};

/// The offered line that an answer's accepts. The answer has its tag and suite, the negotiated parameters of both are
/// the same, and keys are not those of the offer: who gets its own key back would protect both directions by one.
///
/// # Errors
/// [`SdesError::TagNotOffered`], [`SdesError::SuiteChanged`], [`SdesError::ParameterNotAnswered`],
/// [`SdesError::ParameterNotOffered`], [`SdesError::RepeatedKey`], and what [`CryptoLine::keys`] finds.
pub fn match_answer<'o>(offered: &'o [CryptoLine], answer: &CryptoLine) -> Result<&'o CryptoLine, SdesError> {
    let tag = answer.tag;
    let accepted = offered.iter().find(|line| line.tag == tag).ok_or(SdesError::TagNotOffered { tag })?;
    if !accepted.suite_name.eq_ignore_ascii_case(&answer.suite_name) {
        return Err(SdesError::SuiteChanged { tag });
    }
    if let Some(name) = first_missing(accepted, answer) {
        return Err(SdesError::ParameterNotAnswered { tag, name });
    }
    if let Some(name) = first_missing(answer, accepted) {
        return Err(SdesError::ParameterNotOffered { tag, name });
    }
    let theirs = answer.keys()?;
    let ours = accepted.keys()?;
    if theirs.iter().any(|key| ours.iter().any(|own| same_master_key(own, key))) {
        return Err(SdesError::RepeatedKey { tag });
    }
    Ok(accepted)
}

/// The first negotiated parameter that one line has and the other has not.
fn first_missing(of: &CryptoLine, from: &CryptoLine) -> Option<&'static str> {
    let negotiated = of.parameters.iter().filter(|parameter| parameter.is_negotiated());
    negotiated.filter(|parameter| !from.parameters.contains(parameter)).find_map(Parameter::known_name)
}
