//! buf's STANDARD rules, less what `buf.yaml` excepts.

use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

fn is_snake(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed) && !name.contains("__")
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// `SsrcClashPolicy` → `SSRC_CLASH_POLICY_`.
fn prefix(name: &str) -> String {
    let mut prefix = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    prefix + "_"
}

fn check_enum(values: &EnumDescriptorProto, wrong: &mut Vec<String>) {
    let (name, prefix) = (values.name(), prefix(values.name()));
    if !is_pascal(name) {
        wrong.push(format!("ENUM_PASCAL_CASE: {name}"));
    }
    for value in &values.value {
        if !value.name().starts_with(&prefix) || value.name().chars().any(|c| c.is_ascii_lowercase()) {
            wrong.push(format!("ENUM_VALUE_PREFIX: {name}.{} should begin with {prefix}", value.name()));
        }
    }
    let zero = values.value.first().map(|value| (value.number(), value.name().to_owned()));
    if zero != Some((0, format!("{prefix}UNSPECIFIED"))) {
        wrong.push(format!("ENUM_ZERO_VALUE_SUFFIX: {name} should begin with {prefix}UNSPECIFIED"));
    }
    if values.options.as_ref().is_some_and(prost_types::EnumOptions::allow_alias) {
        wrong.push(format!("ENUM_NO_ALLOW_ALIAS: {name}"));
    }
}

fn check_message(message: &DescriptorProto, wrong: &mut Vec<String>) {
    if message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
        return;
    }
    if !is_pascal(message.name()) {
        wrong.push(format!("MESSAGE_PASCAL_CASE: {}", message.name()));
    }
    for field in &message.field {
        if !is_snake(field.name()) {
            wrong.push(format!("FIELD_LOWER_SNAKE_CASE: {}.{}", message.name(), field.name()));
        }
        if field.label() == Label::Required {
            wrong.push(format!("FIELD_NOT_REQUIRED: {}.{}", message.name(), field.name()));
        }
    }
    for oneof in message.oneof_decl.iter().filter(|oneof| !oneof.name().starts_with('_')) {
        if !is_snake(oneof.name()) {
            wrong.push(format!("ONEOF_LOWER_SNAKE_CASE: {}.{}", message.name(), oneof.name()));
        }
    }
    message.enum_type.iter().for_each(|nested| check_enum(nested, wrong));
    message.nested_type.iter().for_each(|nested| check_message(nested, wrong));
}

fn check(file: &FileDescriptorProto, wrong: &mut Vec<String>) {
    let folder = file.name().rsplit_once('/').map_or("", |(folder, _)| folder);
    if file.package().replace('.', "/") != folder
        || file.package().rsplit_once('.').is_none_or(|(_, version)| version != "v1")
    {
        wrong.push(format!("PACKAGE_DIRECTORY_MATCH: {} is of package {}", file.name(), file.package()));
    }
    let stem = file.name().rsplit('/').next().and_then(|name| name.strip_suffix(".proto"));
    if !stem.is_some_and(is_snake) || file.syntax() != "proto3" {
        wrong.push(format!("FILE_LOWER_SNAKE_CASE, SYNTAX_SPECIFIED: {}", file.name()));
    }
    if !file.public_dependency.is_empty() || !file.weak_dependency.is_empty() {
        wrong.push(format!("IMPORT_NO_PUBLIC, IMPORT_NO_WEAK: {}", file.name()));
    }
    file.message_type.iter().for_each(|message| check_message(message, wrong));
    file.enum_type.iter().for_each(|values| check_enum(values, wrong));
    for service in &file.service {
        for method in &service.method {
            if !is_pascal(method.name()) || !is_pascal(service.name()) {
                wrong.push(format!("RPC_PASCAL_CASE: {}.{}", service.name(), method.name()));
            }
        }
    }
}

#[test]
fn names_are_as_buf_wants_them() {
    let mut wrong = Vec::new();
    super::files().file.iter().for_each(|file| check(file, &mut wrong));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_that_buf_does_not_want_are_found() {
    use prost_types::{EnumValueDescriptorProto, FieldDescriptorProto};
    let value = |name: &str| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(0),
        ..Default::default()
    };
    let values = EnumDescriptorProto {
        name: Some("SsrcClash".into()),
        value: vec![value("NONE")],
        ..Default::default()
    };
    let field = FieldDescriptorProto { name: Some("remoteRtcp".into()), ..Default::default() };
    let message =
        DescriptorProto { name: Some("leg_config".into()), field: vec![field], ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("sluice/v1/x.proto".into()),
        package: Some("sluice.v2".into()),
        message_type: vec![message],
        enum_type: vec![values],
        ..Default::default()
    };
    let mut wrong = Vec::new();
    check(&file, &mut wrong);
    for rule in ["PACKAGE_DIR", "SYNTAX", "ENUM_VALUE_PREFIX", "ENUM_ZERO", "FIELD_LOWER", "MESSAGE_PASCAL"] {
        assert!(wrong.iter().any(|line| line.contains(rule)), "{rule}: {wrong:?}");
    }
}
