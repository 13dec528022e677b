//! Media lines that share a transport: BUNDLE (RFC 8843), by the names that RFC 5888 gives them.

use std::collections::{HashMap, HashSet};

use super::fields::fields;
use super::{Sdp, SdpError};

/// A BUNDLE group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The media lines in it, by their index and in the group's order: the first is the tagged one, whose address and
    /// port count (RFC 8843 section 7.2). Identifications that no media line has are left out.
    pub media: Vec<usize>,
}

impl Sdp {
    /// Media lines by their identification (a=mid).
    ///
    /// # Errors
    /// [`SdpError::RepeatedMid`] if two have the same.
    pub fn mids(&self) -> Result<HashMap<&str, usize>, SdpError> {
        let mut mids = HashMap::new();
        for (index, media) in self.media.iter().enumerate() {
            let Some(mid) = media.attribute("mid") else { continue };
            if mids.insert(mid.text().trim(), index).is_some() {
                return Err(SdpError::RepeatedMid { line: mid.line });
            }
        }
        Ok(mids)
    }

    /// The BUNDLE groups (`a=group:BUNDLE …`).
    ///
    /// # Errors
    /// [`SdpError::RepeatedMid`]; [`SdpError::RepeatedInBundle`] if a media line is in two, or twice in one.
    pub fn bundles(&self) -> Result<Vec<Bundle>, SdpError> {
        let mids = self.mids()?;
        let mut taken = HashSet::new();
        let mut bundles = Vec::new();
        for group in self.session.all("group") {
            let mut fields = fields(group.text());
            if !fields.next().is_some_and(|semantics| semantics.eq_ignore_ascii_case("BUNDLE")) {
                continue;
            }
            let media: Vec<usize> = fields.filter_map(|mid| mids.get(mid).copied()).collect();
            if !media.iter().all(|index| taken.insert(*index)) {
                return Err(SdpError::RepeatedInBundle { line: group.line });
            }
            bundles.push(Bundle { media });
        }
        Ok(bundles)
    }

    /// The transport of each media line: those of a BUNDLE group share one. Transports are numbered from 0 in the
    /// order in which media lines need them.
    ///
    /// # Errors
    /// As of [`Sdp::bundles`].
    pub fn transports(&self) -> Result<Vec<usize>, SdpError> {
        let bundles = self.bundles()?;
        let mut group_of = vec![None; self.media.len()];
        for (group, bundle) in bundles.iter().enumerate() {
            bundle.media.iter().for_each(|index| group_of[*index] = Some(group));
        }
        let mut numbers = vec![None; bundles.len()];
        let mut next = 0;
        let mut number = || {
            next += 1;
            next - 1
        };
        let transports = group_of.into_iter().map(|group| match group {
            Some(group) => *numbers[group].get_or_insert_with(&mut number),
            None => number(),
        });
        Ok(transports.collect())
    }
}
