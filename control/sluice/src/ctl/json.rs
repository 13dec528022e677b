//! The canonical JSON form of protocol buffers.

use std::io::Write;

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use sluice_proto::v1;

fn descriptor<M: prost::Name>() -> Result<MessageDescriptor> {
    let pool = DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET)?;
    let name = M::full_name();
    pool.get_message_by_name(&name).with_context(|| format!("no descriptor of {name}"))
}

/// Prints a message on one line.
pub(super) fn print<M: prost::Message + prost::Name>(message: &M) -> Result<()> {
    let message = DynamicMessage::decode(descriptor::<M>()?, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    let mut out = std::io::stdout().lock();
    let mut serializer = serde_json::Serializer::new(&mut out);
    message.serialize_with_options(&mut serializer, &options)?;
    writeln!(out)?;
    Ok(())
}

/// Reads one message, and nothing behind it.
pub(super) fn parse<M: prost::Message + prost::Name + Default>(text: &str) -> Result<M> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor::<M>()?, &mut deserializer)?;
    deserializer.end()?;
    Ok(message.transcode_to()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_nonsense_is_not() {
        let text = r#"{"session":"s","leg":"a","streams":[{"direction":"DIRECTION_OUTBOUND","ssrc":7,
                      "rtp_index":"281474976710655","rtcp_index":9}]}"#;
        let positions: v1::Positions = parse(text).unwrap();
        let stream = &positions.streams[0];
        assert_eq!((stream.ssrc, stream.rtp_index, stream.rtcp_index), (7, Some((1 << 48) - 1), Some(9)));
        assert_eq!((stream.direction(), stream.initial_roc), (v1::Direction::Outbound, None));
        for wrong in ["", "[]", "{\"streams\":7}", "{\"stream\":[]}", "{} {}"] {
            assert!(parse::<v1::Positions>(wrong).is_err(), "{wrong}");
        }
    }
}
