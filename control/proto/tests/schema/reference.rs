//! `docs/api.md`: every service, message and enum with its comments.

use std::fmt::Write;

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, ServiceDescriptorProto};

use super::comments::Comments;
use super::snapshot::{parts, type_of};

const HEAD: &str = "# API reference\n\nThe gRPC API `sluice.v1`, generated from `control/proto` by `just api-docs`. \
                    Rules of use are in [operations.md](operations.md#the-api), rules of change in \
                    [versioning.md](versioning.md).\n";

/// For a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// A type, with a link to where it is described.
fn link(kind: &str) -> String {
    let (label, name) = kind.rsplit_once(' ').map_or(("", kind), |(label, name)| (label, name));
    if name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(['.', '<', '>']) {
        let space = if label.is_empty() { "" } else { " " };
        return format!("{label}{space}[{name}](#{})", name.to_ascii_lowercase());
    }
    cell(kind)
}

fn service(out: &mut String, service: &ServiceDescriptorProto, comments: &Comments, path: &[i32]) {
    let _ = writeln!(out, "\n### sluice.v1.{}\n\n{}\n", service.name(), cell(&comments.at(path)));
    if service.method.is_empty() {
        return;
    }
    out.push_str("| method | takes | answers | does |\n| --- | --- | --- | --- |\n");
    for (index, method) in service.method.iter().enumerate() {
        let does = cell(&comments.at(&[path, &[2, index as i32]].concat()));
        let [takes, gives] = parts(method).map(|kind| link(&kind));
        let _ = writeln!(out, "| {} | {takes} | {gives} | {does} |", method.name());
    }
}

fn message(out: &mut String, message: &DescriptorProto, comments: &Comments, path: &[i32]) {
    let _ = writeln!(out, "\n### {}\n\n{}", message.name(), cell(&comments.at(path)));
    if message.field.is_empty() {
        return;
    }
    out.push_str("\n| field | type | no. | meaning |\n| --- | --- | --- | --- |\n");
    for (index, field) in message.field.iter().enumerate() {
        let meaning = cell(&comments.at(&[path, &[2, index as i32]].concat()));
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.map_or_else(String::new, |index| {
            format!("one of `{}`: ", message.oneof_decl[index as usize].name())
        });
        let kind = link(&type_of(message, field));
        let _ = writeln!(out, "| {} | {oneof}{kind} | {} | {meaning} |", field.name(), field.number());
    }
}

fn values(out: &mut String, values: &EnumDescriptorProto, comments: &Comments, path: &[i32]) {
    let _ = writeln!(out, "\n### {}\n\n{}\n", values.name(), cell(&comments.at(path)));
    out.push_str("| value | no. | meaning |\n| --- | --- | --- |\n");
    for (index, value) in values.value.iter().enumerate() {
        let meaning = cell(&comments.at(&[path, &[2, index as i32]].concat()));
        let _ = writeln!(out, "| {} | {} | {meaning} |", value.name(), value.number());
    }
}

fn chapter(out: &mut String, file: &FileDescriptorProto) {
    let comments = Comments::of(file);
    let _ = writeln!(out, "\n## {}\n", file.name());
    for line in comments.of_file() {
        let _ = writeln!(out, "{}", cell(&line));
    }
    for (index, descriptor) in file.service.iter().enumerate() {
        service(out, descriptor, &comments, &[6, index as i32]);
    }
    for (index, descriptor) in file.message_type.iter().enumerate() {
        assert!(
            descriptor.enum_type.is_empty()
                && descriptor.nested_type.iter().all(|nested| nested
                    .options
                    .as_ref()
                    .is_some_and(prost_types::MessageOptions::map_entry)),
            "{}: the reference knows no types within types",
            descriptor.name()
        );
        message(out, descriptor, &comments, &[4, index as i32]);
    }
    for (index, descriptor) in file.enum_type.iter().enumerate() {
        values(out, descriptor, &comments, &[5, index as i32]);
    }
}

#[test]
fn the_reference_is_current() {
    let mut out = HEAD.to_owned();
    super::files().file.iter().for_each(|file| chapter(&mut out, file));
    super::committed(&super::here("../../docs/api.md"), &out);
}
