//! What clients rely on, one line for each: whatever takes a line away breaks them.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, MethodDescriptorProto};

/// A field's type, as the `.proto` file has it.
pub(crate) fn type_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let short = field.type_name().rsplit('.').next().unwrap_or_default();
    let entry = message.nested_type.iter().find(|nested| nested.name() == short);
    if let Some(entry) =
        entry.filter(|nested| nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry))
    {
        let [key, value] = [0, 1].map(|index| type_of(entry, &entry.field[index]));
        return format!("map<{key}, {value}>");
    }
    let name = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches(".sluice.v1.").to_owned(),
        plain => plain.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("repeated {name}"),
        _ if field.proto3_optional() => format!("optional {name}"),
        _ => name,
    }
}

/// What a method takes or gives.
pub(crate) fn parts(method: &MethodDescriptorProto) -> [String; 2] {
    let stream = |streaming: bool| if streaming { "stream " } else { "" };
    let short = |name: &str| name.trim_start_matches(".sluice.v1.").to_owned();
    [
        format!("{}{}", stream(method.client_streaming()), short(method.input_type())),
        format!("{}{}", stream(method.server_streaming()), short(method.output_type())),
    ]
}

fn of_message(message: &DescriptorProto, outer: &str, lines: &mut Vec<String>) {
    if message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
        return;
    }
    let name = format!("{outer}{}", message.name());
    lines.push(format!("message {name}"));
    for field in &message.field {
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof
            .map_or_else(String::new, |index| format!(" of {}", message.oneof_decl[index as usize].name()));
        let (number, kind) = (field.number(), type_of(message, field));
        lines.push(format!("field {name}.{} = {number} {kind}{oneof}", field.name()));
    }
    message.nested_type.iter().for_each(|nested| of_message(nested, &format!("{name}."), lines));
    message.enum_type.iter().for_each(|nested| of_enum(nested, &format!("{name}."), lines));
}

fn of_enum(values: &EnumDescriptorProto, outer: &str, lines: &mut Vec<String>) {
    for value in &values.value {
        lines.push(format!("value {outer}{}.{} = {}", values.name(), value.name(), value.number()));
    }
}

fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for file in super::files().file {
        file.message_type.iter().for_each(|message| of_message(message, "", &mut lines));
        file.enum_type.iter().for_each(|values| of_enum(values, "", &mut lines));
        for service in &file.service {
            for method in &service.method {
                let [takes, gives] = parts(method);
                lines.push(format!("rpc {}.{}({takes}) returns ({gives})", service.name(), method.name()));
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn nothing_that_clients_rely_on_is_gone() {
    let path = super::here("api.snapshot");
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = lines();
    let gone: Vec<_> = stored.lines().filter(|line| !lines.iter().any(|now| now == line)).collect();
    let breaking = std::env::var("SLUICE_WRITE").is_ok_and(|what| what == "breaking");
    assert!(
        gone.is_empty() || breaking,
        "clients of sluice.v1 rely on:\n{}\nPut it back, or if there is no release with it: just api-docs breaking",
        gone.join("\n")
    );
    super::committed(&path, &(lines.join("\n") + "\n"));
}
