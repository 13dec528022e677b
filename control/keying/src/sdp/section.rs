//! The session's section or a media line's: lines, and how they are found and changed.

use super::{Attribute, Connection, Line, MAX_SECTION_LINES, SdpError};
use crate::negotiation::Direction;

/// Lines of one section in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    lines: Vec<Line>,
}

impl Section {
    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The value of the first line of a type.
    pub fn first(&self, kind: char) -> Option<&str> {
        self.lines.iter().find(|line| line.kind() == kind).map(Line::value)
    }

    /// All attributes, of whatever name.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.lines.iter().filter_map(Line::as_attribute)
    }

    /// All attributes of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Attribute<'a>> {
        self.attributes().filter(move |attribute| attribute.name == name)
    }

    /// The first attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.attributes().find(|attribute| attribute.name == name)
    }

    /// The value of the first attribute of a name; empty if it is a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|attribute| attribute.text())
    }

    /// Whether there is an attribute of a name.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Its own c=.
    pub fn connection(&self) -> Option<Connection<'_>> {
        self.first('c').map(Connection::read)
    }

    /// Its own direction: that of the last such attribute.
    pub fn direction(&self) -> Option<Direction> {
        self.attributes().filter_map(|attribute| Direction::from_name(attribute.name)).last()
    }

    /// Where the first attribute of a name stands among [`Section::lines`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.as_attribute().is_some_and(|attribute| attribute.name == name))
    }

    /// Replaces the first line of a type, or adds one where RFC 8866 section 5 has it.
    ///
    /// # Errors
    /// [`SdpError::Control`] if the value has a line end; [`SdpError::TooManyLines`]; [`SdpError::Misplaced`] of
    /// m=, which [`Media`](super::Media) changes.
    pub fn set(&mut self, kind: char, value: &str) -> Result<(), SdpError> {
        if kind == 'm' {
            return Err(SdpError::Misplaced { line: 0, kind });
        }
        self.replace_first(kind, value)
    }

    pub(super) fn replace_first(&mut self, kind: char, value: &str) -> Result<(), SdpError> {
        if let Some(line) = self.lines.iter_mut().find(|line| line.kind() == kind) {
            *line = line.replaced(value)?;
            return Ok(());
        }
        let rank = |kind| ORDER.find(kind).unwrap_or(ORDER.len());
        let after = |line: &Line| line.kind() != 'm' && rank(line.kind()) > rank(kind);
        let at = self.lines.iter().position(after).unwrap_or(self.lines.len());
        self.insert(at, Line::new(kind, value)?)
    }

    /// Takes all lines of a type out, and says how many there were. m= stays.
    pub fn remove_kind(&mut self, kind: char) -> usize {
        self.retain(|line| line.kind() != kind)
    }

    /// Replaces c=, or adds it where it belongs.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if it is none; [`SdpError::TooManyLines`].
    pub fn set_connection(&mut self, connection: &Connection<'_>) -> Result<(), SdpError> {
        self.set('c', &super::fields::connection_text(connection)?)
    }

    /// Makes an attribute the only one of its name: in the place of the first, or last in the section.
    ///
    /// # Errors
    /// [`SdpError::Control`] if the value has a line end; [`SdpError::TooManyLines`].
    pub fn set_attribute(&mut self, name: &str, value: Option<&str>) -> Result<(), SdpError> {
        let line = Line::attribute(name, value)?;
        let Some(at) = self.position(name) else { return self.insert(self.lines.len(), line) };
        self.remove_attributes(name);
        self.insert(at, line)
    }

    /// Adds an attribute as the section's last line.
    ///
    /// # Errors
    /// As of [`Section::set_attribute`].
    pub fn push_attribute(&mut self, name: &str, value: Option<&str>) -> Result<(), SdpError> {
        self.insert(self.lines.len(), Line::attribute(name, value)?)
    }

    /// Replaces all attributes of a name by others of that name: where the first was, or last in the section.
    ///
    /// # Errors
    /// As of [`Section::set_attribute`].
    pub fn replace_attributes<'v>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<(), SdpError> {
        let lines: Vec<Line> =
            values.into_iter().map(|value| Line::attribute(name, Some(value))).collect::<Result<_, _>>()?;
        if self.lines.len() - self.all(name).count() + lines.len() > MAX_SECTION_LINES {
            return Err(SdpError::TooManyLines { line: 0 });
        }
        let at = self.position(name).unwrap_or(self.lines.len());
        self.remove_attributes(name);
        self.lines.splice(at..at, lines);
        Ok(())
    }

    /// Takes all attributes of a name out, and says how many there were.
    pub fn remove_attributes(&mut self, name: &str) -> usize {
        self.retain_attributes(|attribute| attribute.name != name)
    }

    /// Takes the attributes out for which `keep` is false, and says how many.
    pub fn retain_attributes(&mut self, mut keep: impl FnMut(Attribute<'_>) -> bool) -> usize {
        self.retain(|line| line.as_attribute().is_none_or(&mut keep))
    }

    /// Says which way media flows: the only such attribute from then on.
    ///
    /// # Errors
    /// [`SdpError::TooManyLines`].
    pub fn set_direction(&mut self, direction: Direction) -> Result<(), SdpError> {
        let is_one = |line: &Line| line.as_attribute().and_then(|a| Direction::from_name(a.name)).is_some();
        let line = Line::attribute(direction.name(), None)?;
        let at = self.lines.iter().position(is_one).unwrap_or(self.lines.len());
        self.retain(|line| !is_one(line));
        self.insert(at, line)
    }

    /// Puts a line before the `at`th, or last if there are fewer. A media section's first line stays its first.
    ///
    /// # Errors
    /// [`SdpError::TooManyLines`] if the section is full; [`SdpError::Misplaced`] of m=, which begins another.
    pub fn insert(&mut self, at: usize, line: Line) -> Result<(), SdpError> {
        if line.kind() == 'm' {
            return Err(SdpError::Misplaced { line: line.number(), kind: 'm' });
        }
        if self.lines.len() >= MAX_SECTION_LINES {
            return Err(SdpError::TooManyLines { line: line.number() });
        }
        let first = usize::from(self.lines.first().is_some_and(|first| first.kind() == 'm'));
        self.lines.insert(at.clamp(first, self.lines.len()), line);
        Ok(())
    }

    /// A section that begins with a line, whatever its type.
    pub(super) fn beginning_with(line: Line) -> Self {
        Self { lines: vec![line] }
    }

    /// Adds a line that was read.
    pub(super) fn push_read(&mut self, line: Line) -> Result<(), SdpError> {
        if self.lines.len() >= MAX_SECTION_LINES {
            return Err(SdpError::TooManyLines { line: line.number() });
        }
        self.lines.push(line);
        Ok(())
    }

    fn retain(&mut self, mut keep: impl FnMut(&Line) -> bool) -> usize {
        let before = self.lines.len();
        self.lines.retain(|line| line.kind() == 'm' || keep(line));
        before - self.lines.len()
    }
}

/// The order of RFC 8866 section 5.
const ORDER: &str = "vosiuepcbtrzka";

impl Direction {
    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction that an attribute of this name says.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];
        all.into_iter().find(|direction| direction.name() == name)
    }
}
