//! `a=pcfg` and `a=acfg` as text (RFC 5939 section 3.5).

/// Most attributes that a configuration names.
const MOST_ATTRIBUTES: usize = 64;

/// A potential configuration with all its alternatives (RFC 5939 section 3.5.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Potential {
    pub(super) number: u32,
    pub(super) transports: Vec<u32>,
    pub(super) delete: &'static str,
    pub(super) attributes: Vec<Alternative>,
}

/// One of its alternative lists of attributes, by their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) mandatory: Vec<u32>,
    pub(super) optional: Vec<u32>,
}

/// What an answer says of the configuration it took (RFC 5939 section 3.5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actual {
    pub(super) number: u32,
    pub(super) transport: Option<u32>,
    pub(super) attributes: Vec<u32>,
}

impl Actual {
    /// Reads `a=acfg`'s value; none if it is none.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let potential = Potential::parse(value)?;
        let [alternative] = potential.attributes.as_slice() else { return None };
        let transport = match potential.transports.as_slice() {
            [] => None,
            [transport] => Some(*transport),
            _ => return None,
        };
        let attributes = alternative.mandatory.iter().chain(&alternative.optional).copied().collect();
        Some(Self { number: potential.number, transport, attributes })
    }
}

impl Potential {
    /// Reads `a=pcfg`'s value. None: it is not valid, or demands an extension (section 3.5.1).
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let number = number(words.next()?)?;
        let mut potential = Self { number, transports: Vec::new(), delete: "", attributes: Vec::new() };
        for word in words {
            let (name, list) = word.split_once('=')?;
            match name {
                // "Each of these MUST NOT be present more than once in a particular potential configuration"
                "t" if potential.transports.is_empty() => {
                    potential.transports = list.split('|').map(self::number).collect::<Option<_>>()?;
                }
                "a" if potential.attributes.is_empty() => potential.take_attributes(list)?,
                "t" | "a" => return None,
                _ if name.starts_with('+') => return None,
                _ => {}
            }
        }
        if potential.attributes.is_empty() {
            potential.attributes.push(Alternative::default());
        }
        Some(potential)
    }

    fn take_attributes(&mut self, list: &str) -> Option<()> {
        let list = match list.strip_prefix('-') {
            None => list,
            Some(rest) => {
                let (delete, list) = rest.split_once(':').unwrap_or((rest, ""));
                self.delete = match delete {
                    "m" => "m",
                    "s" => "s",
                    "ms" => "ms",
                    _ => return None,
                };
                if list.is_empty() {
                    self.attributes.push(Alternative::default());
                    return Some(());
                }
                list
            }
        };
        self.attributes = list.split('|').map(Alternative::parse).collect::<Option<_>>()?;
        Some(())
    }
}

impl Alternative {
    /// Reads `1,2,[3,4]`: what is in brackets comes last, and is optional.
    fn parse(text: &str) -> Option<Self> {
        let (mandatory, optional) = match text.split_once('[') {
            None => (text, None),
            Some((mandatory, optional)) => {
                let mandatory = match mandatory {
                    "" => "",
                    some => some.strip_suffix(',')?,
                };
                (mandatory, Some(optional.strip_suffix(']')?))
            }
        };
        let list = |text: &str| -> Option<Vec<u32>> {
            let numbers: Vec<u32> =
                text.split(',').map(number).take(MOST_ATTRIBUTES + 1).collect::<Option<_>>()?;
            (numbers.len() <= MOST_ATTRIBUTES).then_some(numbers)
        };
        Some(Self {
            mandatory: if mandatory.is_empty() && optional.is_some() { Vec::new() } else { list(mandatory)? },
            optional: optional.map_or(Some(Vec::new()), list)?,
        })
    }
}

/// A number of a capability or a configuration: 1 to 2^31 - 1.
pub(super) fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 10 && text.bytes().all(|octet| octet.is_ascii_digit());
    let number: u32 = digits.then(|| text.parse().ok())??;
    (1..=i32::MAX.unsigned_abs()).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_one_configuration() {
        let actual = Actual::parse("1 t=4 a=-m:1,[2]").unwrap();
        assert_eq!(actual, Actual { number: 1, transport: Some(4), attributes: vec![1, 2] });
        assert_eq!(Actual::parse("1 t=4|3 a=1"), None);
        assert_eq!(Actual::parse("1 a=1|2"), None);
    }
}
