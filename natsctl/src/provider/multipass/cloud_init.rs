//! What a machine is told before its first boot: whom to let in, and who it is.

use russh::keys::PrivateKey;
use serde::Serialize;

use crate::remote::keys;

/// What cloud-init asks for as the first line.
const HEAD: &str = "#cloud-config\n";

/// The parts of a cloud-config that we use (cloud-init's `ssh` module).
#[derive(Serialize)]
struct UserData {
    /// A list, else Multipass does not add its own key to it and locks itself out.
    ssh_authorized_keys: Vec<String>,
    /// The keys of the image go, those below come.
    ssh_deletekeys: bool,
    ssh_keys: HostKeys,
}

#[derive(Serialize)]
struct HostKeys {
    ed25519_private: String,
    ed25519_public: String,
}

/// The user data: our key for the default user, and a host key that we know already, so that
/// the very first connection is verified.
///
/// # Errors
/// When the host key cannot be written as text.
pub(super) fn user_data(
    user: &PrivateKey,
    host: &PrivateKey,
) -> Result<String, russh::keys::ssh_key::Error> {
    let data = UserData {
        ssh_authorized_keys: vec![keys::public_line(user)],
        ssh_deletekeys: true,
        ssh_keys: HostKeys {
            ed25519_private: keys::private_text(host)?.to_string(),
            ed25519_public: keys::public_line(host),
        },
    };
    // Strings and a flag always have a YAML text.
    Ok(format!("{HEAD}{}", serde_yaml::to_string(&data).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_data_is_yaml_with_both_keys() {
        let folder = tempfile::tempdir().unwrap();
        let user = keys::load_or_make(&folder.path().join("user"), "natsctl demo").unwrap();
        let host = keys::load_or_make(&folder.path().join("host"), "demo-node1").unwrap();
        let text = user_data(&user, &host).unwrap();
        assert!(text.starts_with("#cloud-config\n"), "cloud-init asks for this first line");
        let data: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(data["ssh_authorized_keys"][0].as_str().unwrap(), keys::public_line(&user));
        let planted = data["ssh_keys"]["ed25519_private"].as_str().unwrap();
        let planted = russh::keys::decode_secret_key(planted, None).unwrap();
        assert_eq!(planted.public_key().key_data(), host.public_key().key_data());
    }
}
