//! Every element has a comment.

use std::collections::HashMap;

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

/// Comments of a file by the path of what they are about (descriptor.proto, SourceCodeInfo).
pub(crate) struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    pub(crate) fn of(file: &FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let pairs = locations.map(|location| (location.path.clone(), location.leading_comments().to_owned()));
        Self(pairs.collect())
    }

    /// The comment on one line; empty: there is none.
    pub(crate) fn at(&self, path: &[i32]) -> String {
        let text = self.0.get(path).map_or("", String::as_str);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The comments of a file before its syntax, as they are.
    pub(crate) fn of_file(&self) -> Vec<String> {
        let text = self.0.get(&[12][..]).map_or("", String::as_str);
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Something that has a name.
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) path: Vec<i32>,
}

/// All that a file declares.
pub(crate) fn elements(file: &FileDescriptorProto) -> Vec<Element> {
    let mut all = Vec::new();
    for (index, message) in file.message_type.iter().enumerate() {
        of_message(message, "", vec![4, index as i32], &mut all);
    }
    for (index, values) in file.enum_type.iter().enumerate() {
        of_enum(values, "", &[5, index as i32], &mut all);
    }
    for (index, service) in file.service.iter().enumerate() {
        let path = [6, index as i32];
        all.push(Element { name: service.name().to_owned(), path: path.to_vec() });
        for (method, descriptor) in service.method.iter().enumerate() {
            let name = format!("{}.{}", service.name(), descriptor.name());
            all.push(Element { name, path: [&path[..], &[2, method as i32]].concat() });
        }
    }
    all
}

fn of_message(message: &DescriptorProto, outer: &str, path: Vec<i32>, all: &mut Vec<Element>) {
    let name = format!("{outer}{}", message.name());
    let below = |kind, index: usize| [&path[..], &[kind, index as i32]].concat();
    for (index, field) in message.field.iter().enumerate() {
        all.push(Element { name: format!("{name}.{}", field.name()), path: below(2, index) });
    }
    for (index, oneof) in message.oneof_decl.iter().enumerate() {
        // What the compiler makes of an optional field.
        if !oneof.name().starts_with('_') {
            all.push(Element { name: format!("{name}.{}", oneof.name()), path: below(8, index) });
        }
    }
    let outer = format!("{name}.");
    for (index, nested) in message.nested_type.iter().enumerate() {
        let of_map = nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
        if !of_map {
            of_message(nested, &outer, below(3, index), all);
        }
    }
    for (index, nested) in message.enum_type.iter().enumerate() {
        of_enum(nested, &outer, &below(4, index), all);
    }
    all.push(Element { name, path });
}

fn of_enum(values: &EnumDescriptorProto, outer: &str, path: &[i32], all: &mut Vec<Element>) {
    let name = format!("{outer}{}", values.name());
    for (index, value) in values.value.iter().enumerate() {
        let path = [path, &[2, index as i32]].concat();
        all.push(Element { name: format!("{name}.{}", value.name()), path });
    }
    all.push(Element { name, path: path.to_vec() });
}

#[test]
fn everything_is_commented() {
    let (mut silent, mut count) = (Vec::new(), 0);
    for file in super::files().file {
        let comments = Comments::of(&file);
        for element in elements(&file) {
            count += 1;
            if comments.at(&element.path).is_empty() {
                silent.push(format!("{}: {}", file.name(), element.name));
            }
        }
    }
    assert!(count > 300, "{count} elements");
    assert!(silent.is_empty(), "no comment above:\n{}", silent.join("\n"));
}
