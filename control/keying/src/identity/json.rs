//! JSON whose objects have each name once: a name twice would be read one way by who signs and another by who verifies
//! (RFC 8225 section 9).

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads an object.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(text).map_err(|error| error.to_string())? {
        Unique(Value::Object(object)) => Ok(object),
        Unique(_) => Err("it is no object".to_owned()),
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, _>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("{name:?} is there twice")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_is_refused_at_any_depth() {
        assert!(object(b"{\"a\":1,\"b\":{\"a\":[{\"a\":null}]}}").is_ok());
        for text in ["{\"a\":1,\"a\":1}", "{\"b\":[{\"a\":1,\"\\u0061\":2}]}"] {
            assert!(object(text.as_bytes()).unwrap_err().contains("\"a\" is there twice"), "{text}");
        }
    }

    #[test]
    fn only_a_whole_object_is_one() {
        for text in ["", "[]", "3", "{", "{}{}", "{\"a\":}"] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(4096), "}".repeat(4096));
        assert!(object(deep.as_bytes()).is_err(), "depth is bounded");
    }
}
