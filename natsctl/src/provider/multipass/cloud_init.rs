//! What a machine is told before its first boot: whom to let in, and who it is.

use russh::keys::PrivateKey;

use crate::remote::keys;

/// The user data: our key for the default user, and a host key that we know already, so that
/// the very first connection is verified.
///
/// # Errors
/// When the host key cannot be written as text.
pub(super) fn user_data(
    user: &PrivateKey,
    host: &PrivateKey,
) -> Result<String, russh::keys::ssh_key::Error> {
    let private: String =
        keys::private_text(host)?.lines().map(|line| format!("    {line}\n")).collect();
    Ok(format!(
        "#cloud-config\n\
         ssh_authorized_keys:\n  - {}\n\
         ssh_deletekeys: true\n\
         ssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {}\n",
        keys::public_line(user),
        keys::public_line(host),
    ))
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
        // A list, else Multipass does not add its own key to it and locks itself out.
        assert_eq!(data["ssh_authorized_keys"][0].as_str().unwrap(), keys::public_line(&user));
        let planted = data["ssh_keys"]["ed25519_private"].as_str().unwrap();
        let planted = russh::keys::decode_secret_key(planted, None).unwrap();
        assert_eq!(planted.public_key().key_data(), host.public_key().key_data());
    }
}
