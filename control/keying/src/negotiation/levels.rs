//! Attributes that hold for a media line, at whichever level they are written.

use super::capabilities::Configuration;
use crate::sdp::{Attribute, Sdp};

/// Attributes by level: those of the media line first, and then what it has from others.
///
/// A level counts if those before it do not have the attribute: "a media-level attribute overrides the session-level one"
/// holds for `a=fingerprint` (RFC 8122 section 5), `a=setup` (RFC 4145 section 4) and credentials (RFC 8839 section 5.4).
#[derive(Debug)]
pub(super) struct Levels<'s> {
    levels: Vec<Vec<Attribute<'s>>>,
}

impl<'s> Levels<'s> {
    /// Those of a media line and its session.
    pub(super) fn of(sdp: &'s Sdp, line: usize) -> Self {
        Self { levels: vec![sdp.media()[line].attributes().collect(), sdp.session().attributes().collect()] }
    }

    /// The same with what another line says between them: of a group, the offerer's first line, which may be one that is
    /// refused and says where all are all the same (RFC 8843 section 7.2).
    #[must_use]
    pub(super) fn with_tagged(mut self, sdp: &'s Sdp, tagged: usize) -> Self {
        self.levels.insert(1, sdp.media()[tagged].attributes().collect());
        self
    }

    /// As they are with a potential configuration: with what it adds, which comes first, and without what it deletes
    /// (RFC 5939 section 3.6.2).
    pub(super) fn configured<'c>(&'c self, configuration: &'c Configuration) -> Levels<'c> {
        let added = configuration.attributes.iter();
        let mut media: Vec<Attribute<'c>> = added
            .map(|added| Attribute { name: &added.name, value: added.value.as_deref(), line: 0 })
            .collect();
        let mut levels = self.levels.iter();
        match levels.next() {
            Some(own) if !configuration.without_media => media.extend(own),
            _ => {}
        }
        let rest = levels.filter(|_| !configuration.without_session).cloned();
        Levels { levels: std::iter::once(media).chain(rest).collect() }
    }

    /// All of a name, at the first level that has one.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = Attribute<'s>> {
        let level = self.levels.iter().find(|level| level.iter().any(|attribute| attribute.name == name));
        let all = level.map_or(&[][..], Vec::as_slice).iter().copied();
        all.filter(move |attribute| attribute.name == name)
    }

    /// The first of a name.
    pub(super) fn first(&self, name: &str) -> Option<Attribute<'s>> {
        self.levels.iter().flatten().copied().find(|attribute| attribute.name == name)
    }
}
