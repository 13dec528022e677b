//! Which role each method takes.

use super::{Role, Roles};

/// Looking, which every role may.
const READ: Roles = Roles::ALL;
const SIGNALLING: Roles = Roles::of(&[Role::Signalling]);
const RECORDER: Roles = Roles::of(&[Role::Recorder]);
const OPERATOR: Roles = Roles::of(&[Role::Operator]);
const SIGNALLING_OR_OPERATOR: Roles = Roles::of(&[Role::Signalling, Role::Operator]);

/// Methods, or a service's methods, and the roles of which a caller needs one. The first that fits counts. What lets
/// media or keys out takes a recorder's role; keys are given, and never read, by signalling.
const TABLE: &[(&str, Roles)] = &[
    ("sluice.v1.Sluice/GetInfo", READ),
    ("sluice.v1.Sluice/GetSession", READ),
    ("sluice.v1.Sluice/ListSessions", READ),
    ("sluice.v1.Sluice/GetLeg", READ),
    ("sluice.v1.Sluice/ListLegs", READ),
    ("sluice.v1.Sluice/ListRoutes", READ),
    ("sluice.v1.Sluice/ListKeys", READ),
    ("sluice.v1.Sluice/GetStatistics", READ),
    ("sluice.v1.Sluice/WatchEvents", READ),
    ("sluice.v1.Sluice/CreateSession", SIGNALLING),
    ("sluice.v1.Sluice/CreateLeg", SIGNALLING),
    ("sluice.v1.Sluice/CreateLegs", SIGNALLING),
    ("sluice.v1.Sluice/UpdateLeg", SIGNALLING),
    ("sluice.v1.Sluice/AddCandidates", SIGNALLING),
    ("sluice.v1.Sluice/DeleteLeg", SIGNALLING),
    ("sluice.v1.Sluice/CreateRoute", SIGNALLING),
    ("sluice.v1.Sluice/CreateRoutes", SIGNALLING),
    ("sluice.v1.Sluice/UpdateRoute", SIGNALLING),
    ("sluice.v1.Sluice/UpdateRoutes", SIGNALLING),
    ("sluice.v1.Sluice/DeleteRoute", SIGNALLING),
    ("sluice.v1.Sluice/InstallKeys", SIGNALLING),
    ("sluice.v1.Sluice/Rekey", SIGNALLING),
    ("sluice.v1.Sluice/RetireKeys", SIGNALLING),
    ("sluice.v1.Sluice/DeleteSession", SIGNALLING_OR_OPERATOR),
    ("sluice.v1.Sluice/ExportPositions", SIGNALLING_OR_OPERATOR),
    ("sluice.v1.Sluice/ImportPositions", SIGNALLING_OR_OPERATOR),
    ("sluice.v1.Sluice/MoveSession", OPERATOR),
    // They show no session descriptions.
    ("sluice.v1.Signalling/GetCall", READ),
    ("sluice.v1.Signalling/ListCalls", READ),
    // A call that hangs is ended by whoever runs the gateway.
    ("sluice.v1.Signalling/EndSession", SIGNALLING_OR_OPERATOR),
    // Session descriptions have keys in them, when they are read as well.
    ("sluice.v1.Signalling/*", SIGNALLING),
    // Where copies of media go, only recorders are told.
    ("sluice.v1.Recording/*", RECORDER),
    ("grpc.health.v1.Health/*", READ),
    ("grpc.reflection.v1.ServerReflection/*", READ),
];

/// The roles of which a method takes one; `None` if there is no such method.
pub(super) fn roles(path: &str) -> Option<Roles> {
    let path = path.strip_prefix('/')?;
    let fits = |entry: &&(&str, Roles)| match entry.0.strip_suffix('*') {
        Some(service) => path.strip_prefix(service).is_some_and(|method| !method.is_empty()),
        None => path == entry.0,
    };
    TABLE.iter().find(fits).map(|(_, roles)| *roles)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn methods() -> Vec<String> {
        let sets = [
            sluice_proto::v1::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut paths = Vec::new();
        for file in sets.iter().flat_map(|set| FileDescriptorSet::decode(*set).unwrap().file) {
            for service in &file.service {
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                paths.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
        paths
    }

    #[test]
    fn every_method_of_every_service_has_its_roles() {
        let methods = methods();
        assert!(methods.len() > 25 && methods.contains(&"/grpc.health.v1.Health/Check".to_owned()));
        let missing: Vec<_> = methods.iter().filter(|method| roles(method).is_none()).collect();
        assert!(missing.is_empty(), "say in TABLE who may call {missing:?}");
    }

    #[test]
    fn every_entry_is_of_a_method_or_service_that_exists() {
        let methods = methods();
        // Services are named before they have methods.
        let services =
            [sluice_proto::v1::FILE_DESCRIPTOR_SET].map(|set| FileDescriptorSet::decode(set).unwrap());
        let has_service = |name: &str| {
            services.iter().flat_map(|set| &set.file).any(|file| {
                file.service.iter().any(|service| name == format!("{}.{}/", file.package(), service.name()))
            })
        };
        for (entry, _) in TABLE.iter().filter(|(entry, _)| *entry != "sluice.v1.Signalling/EndSession") {
            let known = match entry.strip_suffix('*') {
                Some(service) => {
                    has_service(service) || methods.iter().any(|path| path[1..].starts_with(service))
                }
                None => methods.iter().any(|path| path[1..] == **entry),
            };
            assert!(known, "{entry} is of nothing that there is");
        }
    }

    #[test]
    fn media_and_keys_are_for_few() {
        let needs = |path: &str| roles(path).unwrap().to_string();
        assert_eq!(needs("/sluice.v1.Recording/StartTap"), "recorder");
        assert_eq!(needs("/sluice.v1.Signalling/ProcessOffer"), "signalling");
        assert_eq!(needs("/sluice.v1.Sluice/InstallKeys"), "signalling");
        assert_eq!(needs("/sluice.v1.Sluice/MoveSession"), "operator");
        assert_eq!(roles("/sluice.v1.Sluice/GetInfo"), Some(Roles::ALL));
        let unknown =
            ["/sluice.v1.Sluice/Nothing", "/sluice.v1.Recording/", "/", "", "sluice.v1.Sluice/GetInfo"];
        assert!(unknown.iter().all(|path| roles(path).is_none()));
    }
}
