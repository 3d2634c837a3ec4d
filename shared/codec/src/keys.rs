//! Keys from a file or the environment, or the published development key.

use super::EncryptionCodec;
use anyhow::{Context, anyhow, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The development key. Temporal's samples publish it, so everybody knows it.
pub const PUBLISHED_DEVELOPMENT_KEY: &[u8; 32] = b"test-key-test-key-test-key-test!";

/// Id of the development key, as in Temporal's Python and TypeScript samples.
pub const DEVELOPMENT_KEY_ID: &str = "test-key-id";

const KEY: &str = "TEMPORAL_ENCRYPTION_KEY";
const ID: &str = "TEMPORAL_ENCRYPTION_KEY_ID";
const FILE: &str = "TEMPORAL_ENCRYPTION_KEY_FILE";

/// Flags for encryption, the same on every program that encrypts or decrypts.
///
/// Keys come from the file that `--key-file` or `TEMPORAL_ENCRYPTION_KEY_FILE` names. Each of its
/// lines holds an id and the base64 of 32 bytes, and the first line's key encrypts. Empty lines and
/// lines that begin with `#` are skipped. Alternatively, a single key comes from
/// `TEMPORAL_ENCRYPTION_KEY` (base64 of 32 bytes) and `TEMPORAL_ENCRYPTION_KEY_ID`. It has no flag,
/// because flags show in the process list. White space and byte-order marks around a line or a
/// variable's value are ignored.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub struct EncryptionArgs {
    /// File with a line `id base64` for each key; the first one encrypts [env: TEMPORAL_ENCRYPTION_KEY_FILE] [default: the published development key]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Encrypt with the published development key even for a server that is not on this machine
    #[arg(long)]
    pub insecure_development_key: bool,

    /// Compress payloads of this many bytes or more, if that makes them smaller [default: none]
    #[arg(long, value_name = "BYTES")]
    pub compress_from: Option<usize>,
}

impl EncryptionArgs {
    /// Returns the codec that flags and environment ask for. `remote` names the server or client that
    /// the payloads are for, unless it is on this machine.
    ///
    /// # Errors
    /// If the keys cannot be read, or contradict each other. The error names the variable, or the
    /// file and the line, and quotes nothing of a key. Also if the published development key would
    /// encrypt for `remote`, unless a flag accepts that. On this machine, it only logs a warning.
    pub fn codec(&self, remote: Option<&str>) -> anyhow::Result<EncryptionCodec> {
        let keys = self.keys(|name| std::env::var_os(name))?;
        self.check(&keys, remote)?;
        Ok(EncryptionCodec::new(keys).compress_from(self.compress_from))
    }

    fn check(&self, keys: &KeyRing, remote: Option<&str>) -> anyhow::Result<()> {
        if !keys.current.published {
            return Ok(());
        }
        if let Some(remote) = remote.filter(|_| !self.insecure_development_key) {
            bail!(
                "{remote} is not on this machine, and the published development key keeps nothing secret: \
                 set {FILE} or --key-file, or accept that key with --insecure-development-key"
            );
        }
        tracing::warn!(
            "payloads are encrypted with the published development key, so nothing is secret; set {FILE}"
        );
        Ok(())
    }

    fn keys(&self, variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<KeyRing> {
        let text = |name| -> anyhow::Result<Option<String>> {
            // Compose files and CI pass empty variables.
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            let value = value
                .into_string()
                .map_err(|_| anyhow!("{name} is not UTF-8"))?;
            let value = trimmed(&value);
            // A blank value is a mistake, and must not lead to the published key.
            ensure!(
                !value.is_empty(),
                "{name} is blank; set it to a value, or unset it"
            );
            Ok(Some(value.to_owned()))
        };
        let file = match &self.key_file {
            Some(file) => Some(file.clone()),
            None => text(FILE)?.map(PathBuf::from),
        };
        match (file, text(KEY)?, text(ID)?) {
            (None, None, None) => KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY),
            (Some(file), None, None) => {
                read(&file).with_context(|| format!("the key file {}", file.display()))
            }
            (None, Some(key), Some(id)) => {
                let key = decode(&key).context(KEY)?;
                KeyRing::new(&id, &key).with_context(|| format!("{ID} and {KEY}"))
            }
            (Some(_), ..) => {
                bail!("{KEY} or {ID} is set in addition to a key file; use only one of them")
            }
            (None, Some(_), None) => {
                bail!(
                    "{KEY} is set without {ID}; set both, because payloads name their key by its id"
                )
            }
            (None, None, Some(_)) => {
                bail!("{ID} is set without {KEY}; set both, or a file with {FILE}")
            }
        }
    }
}

/// Keys by their ids: the current one encrypts, and all of them decrypt.
#[derive(Debug)]
pub struct KeyRing {
    current: Key,
    older: Vec<Key>,
}

// The `Debug` of ring's key shows only its algorithm.
#[derive(Debug)]
struct Key {
    id: String,
    key: LessSafeKey,
    published: bool,
}

impl KeyRing {
    /// Returns a ring with one key of 32 bytes, which encrypts and decrypts.
    ///
    /// # Errors
    /// If the key has another length, if the id is empty, or if the id holds anything other than
    /// letters, digits and ASCII punctuation.
    pub fn new(id: &str, key: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            current: Key::new(id, key)?,
            older: Vec::new(),
        })
    }

    /// Adds a key that only decrypts.
    ///
    /// # Errors
    /// As [`KeyRing::new`]; also if there is a key of this id.
    pub fn with(mut self, id: &str, key: &[u8]) -> anyhow::Result<Self> {
        ensure!(
            self.get(id.as_bytes()).is_none(),
            "two keys have the id {id}"
        );
        self.older.push(Key::new(id, key)?);
        Ok(self)
    }

    /// Returns the id of the key that encrypts.
    pub fn current_id(&self) -> &str {
        &self.current.id
    }

    pub(super) fn current(&self) -> (&str, &LessSafeKey) {
        (&self.current.id, &self.current.key)
    }

    pub(super) fn get(&self, id: &[u8]) -> Option<&LessSafeKey> {
        let key = self.all().find(|key| key.id.as_bytes() == id)?;
        Some(&key.key)
    }

    pub(super) fn ids(&self) -> String {
        let ids = self.all().map(|key| format!("`{}`", key.id));
        ids.collect::<Vec<_>>().join(", ")
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

impl Key {
    fn new(id: &str, key: &[u8]) -> anyhow::Result<Self> {
        // Payloads carry the id for years, so two ids must not look the same: neither white space
        // nor invisible characters are allowed.
        let visible = |c: char| c.is_alphanumeric() || c.is_ascii_graphic();
        ensure!(
            !id.is_empty() && id.chars().all(visible),
            "a key's id is empty, or holds something other than letters, digits and ASCII punctuation"
        );
        let length = key.len();
        let unbound = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| anyhow!("a key has {length} bytes, but AES-256 needs 32"))?;
        Ok(Self {
            id: id.to_owned(),
            key: LessSafeKey::new(unbound),
            published: key == PUBLISHED_DEVELOPMENT_KEY,
        })
    }
}

fn read(file: &Path) -> anyhow::Result<KeyRing> {
    let mut file = File::open(file).context("cannot be opened")?;
    refuse_others(&file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("cannot be read")?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| anyhow!("is not UTF-8; save it as UTF-8"))?;
    // Trims each line, because `cat` puts one file's byte-order mark in the middle of another.
    let lines = text.lines().map(trimmed).enumerate();
    let mut ring: Option<KeyRing> = None;
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let mut add = || -> anyhow::Result<()> {
            // The line is not quoted: it may hold a key.
            let (id, key) = line
                .split_once(char::is_whitespace)
                .context("is not an id and a key")?;
            let key = decode(key.trim())?;
            ring = Some(match ring.take() {
                None => KeyRing::new(id, &key)?,
                Some(ring) => ring.with(id, &key)?,
            });
            Ok(())
        };
        add().with_context(|| format!("line {}", number + 1))?;
    }
    ring.context("holds no key")
}

/// Refuses a file that other users can read. Checks the open file, because the name may refer to another file by now.
#[cfg(unix)]
fn refuse_others(file: &File) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mode = file.metadata().context("cannot be inspected")?.mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "can be read by other users (mode {mode:04o}); run `chmod 600` on it"
    );
    Ok(())
}

#[cfg(not(unix))]
fn refuse_others(_file: &File) -> anyhow::Result<()> {
    Ok(())
}

/// Returns the text without the white space and byte-order marks around it, which editors, `echo`
/// and mounted secrets add to keys and tokens.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

fn decode(key: &str) -> anyhow::Result<Vec<u8>> {
    // The error of base64 would quote a byte of the key.
    BASE64_STANDARD
        .decode(key)
        .map_err(|_| anyhow!("a key is not base64"))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes of 0, as base64.
    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn keys(args: &EncryptionArgs, env: &[(&str, &str)]) -> anyhow::Result<KeyRing> {
        args.keys(|name| {
            let (_, value) = env.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        })
    }

    fn error(env: &[(&str, &str)]) -> String {
        match keys(&EncryptionArgs::default(), env) {
            Ok(keys) => panic!("{env:?} gives {keys:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    /// A key file that is deleted when it is dropped.
    struct KeyFile(PathBuf);

    impl KeyFile {
        fn new(text: &str, mode: u32) -> anyhow::Result<Self> {
            use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};
            let path = std::env::temp_dir().join(format!("keys-{}", uuid::Uuid::new_v4()));
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            Ok(Self(path))
        }

        fn ring(&self) -> anyhow::Result<KeyRing> {
            let key_file = Some(self.0.clone());
            let args = EncryptionArgs {
                key_file,
                ..Default::default()
            };
            keys(&args, &[])
        }

        /// Returns the error about the file, without its name.
        fn error(&self) -> String {
            let error = format!("{:#}", self.ring().unwrap_err());
            let name = format!("the key file {}: ", self.0.display());
            assert!(error.starts_with(&name), "{error}");
            error.replace(&name, "")
        }
    }

    impl Drop for KeyFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Without settings, or with empty variables, the published key is used. It is recognized under any id.
    #[test]
    fn defaults_to_the_published_key() -> anyhow::Result<()> {
        let ring = keys(
            &EncryptionArgs::default(),
            &[(KEY, ""), (ID, ""), (FILE, "")],
        )?;
        assert_eq!(
            (ring.current_id(), ring.current.published),
            ("test-key-id", true)
        );
        let published = BASE64_STANDARD.encode(PUBLISHED_DEVELOPMENT_KEY);
        let ring = keys(
            &EncryptionArgs::default(),
            &[(KEY, &published), (ID, "mine")],
        )?;
        assert!(ring.current.published);
        Ok(())
    }

    /// The published key, under any id, does not encrypt for another machine unless a flag accepts that. It
    /// still decrypts, so that you can replace it with another key.
    #[test]
    fn refuses_the_published_key_elsewhere() -> anyhow::Result<()> {
        let (args, remote) = (EncryptionArgs::default(), Some("a.example:7233"));
        let published = BASE64_STANDARD.encode(PUBLISHED_DEVELOPMENT_KEY);
        for env in [&[][..], &[(KEY, &*published), (ID, "mine")]] {
            let keys = keys(&args, env)?;
            args.check(&keys, None)?;
            let error = args.check(&keys, remote).unwrap_err().to_string();
            assert_eq!(
                error,
                "a.example:7233 is not on this machine, and the published development key keeps nothing \
                 secret: set TEMPORAL_ENCRYPTION_KEY_FILE or --key-file, or accept that key with \
                 --insecure-development-key"
            );
            let accepting = EncryptionArgs {
                insecure_development_key: true,
                ..Default::default()
            };
            accepting.check(&keys, remote)?;
        }
        let rotated = KeyRing::new("mine", &[1; 32])?;
        let rotated = rotated.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
        args.check(&rotated, remote)
    }

    /// A key comes from the environment. White space and a byte-order mark around a value, which files and
    /// mounted secrets add, change nothing.
    #[test]
    fn reads_the_environment() -> anyhow::Result<()> {
        for (before, after) in [("", ""), ("", "\n"), ("\u{feff}", "\r\n"), (" \t", " \n\n")] {
            let around = |text: &str| format!("{before}{text}{after}");
            let (key, id) = (around(ZEROS), around("mine"));
            let ring = keys(&EncryptionArgs::default(), &[(KEY, &key), (ID, &id)])?;
            assert_eq!(
                (ring.current_id(), ring.current.published),
                ("mine", false),
                "{before:?} {after:?}"
            );
            let file = KeyFile::new(&format!("key-1 {ZEROS}"), 0o600)?;
            let name = around(&file.0.display().to_string());
            let ring = keys(&EncryptionArgs::default(), &[(FILE, &name)])?;
            assert_eq!(ring.current_id(), "key-1", "{before:?} {after:?}");
        }
        Ok(())
    }

    /// Bad settings lead to an error that names the variables and quotes no key: half a setting, two settings, a
    /// key that is not base64 or has another length, a blank value, an id with an invisible character.
    #[test]
    fn refuses_the_environment() {
        let cases: [(&[(&str, &str)], &str); 11] = [
            (
                &[(KEY, ZEROS)],
                "TEMPORAL_ENCRYPTION_KEY is set without TEMPORAL_ENCRYPTION_KEY_ID; set both, because payloads name their key by its id",
            ),
            (
                &[(ID, "mine")],
                "TEMPORAL_ENCRYPTION_KEY_ID is set without TEMPORAL_ENCRYPTION_KEY; set both, or a file with TEMPORAL_ENCRYPTION_KEY_FILE",
            ),
            (
                &[(KEY, ZEROS), (ID, "mine"), (FILE, "f")],
                "TEMPORAL_ENCRYPTION_KEY or TEMPORAL_ENCRYPTION_KEY_ID is set in addition to a key file; use only one of them",
            ),
            (
                &[(KEY, "hush!"), (ID, "mine")],
                "TEMPORAL_ENCRYPTION_KEY: a key is not base64",
            ),
            (
                &[(KEY, "aHVzaA=="), (ID, "mine")],
                "TEMPORAL_ENCRYPTION_KEY_ID and TEMPORAL_ENCRYPTION_KEY: a key has 4 bytes, but AES-256 needs 32",
            ),
            (
                &[(KEY, ZEROS), (ID, "my key")],
                "TEMPORAL_ENCRYPTION_KEY_ID and TEMPORAL_ENCRYPTION_KEY: a key's id is empty, or holds something other than letters, digits and ASCII punctuation",
            ),
            (
                &[(KEY, ZEROS), (ID, "my\u{feff}key")],
                "TEMPORAL_ENCRYPTION_KEY_ID and TEMPORAL_ENCRYPTION_KEY: a key's id is empty, or holds something other than letters, digits and ASCII punctuation",
            ),
            (
                &[(KEY, "\n"), (ID, "mine")],
                "TEMPORAL_ENCRYPTION_KEY is blank; set it to a value, or unset it",
            ),
            (
                &[(KEY, ZEROS), (ID, "\u{feff}")],
                "TEMPORAL_ENCRYPTION_KEY_ID is blank; set it to a value, or unset it",
            ),
            (
                &[(FILE, " \n")],
                "TEMPORAL_ENCRYPTION_KEY_FILE is blank; set it to a value, or unset it",
            ),
            (
                &[(FILE, "/no/such/file")],
                "the key file /no/such/file: cannot be opened: No such file or directory (os error 2)",
            ),
        ];
        for (env, expected) in cases {
            assert_eq!(error(env), expected);
        }
    }

    /// A file can hold several keys, and the first one encrypts.
    #[test]
    fn reads_a_file() -> anyhow::Result<()> {
        let text = format!("# newest first\n\n  key-2\t {ZEROS}\r\nkey-1 {ZEROS}\n");
        let ring = KeyFile::new(&text, 0o600)?.ring()?;
        assert_eq!(
            (ring.current_id(), ring.ids()),
            ("key-2", "`key-2`, `key-1`".into())
        );
        assert!(ring.get(b"key-1").is_some() && ring.get(b"key-3").is_none());
        Ok(())
    }

    /// Byte-order marks are not part of an id, whether an editor writes them at the start, `cat` leaves them in
    /// the middle, or one is before a comment.
    #[test]
    fn ignores_byte_order_marks() -> anyhow::Result<()> {
        let key = format!("key-1 {ZEROS}");
        for text in [
            format!("\u{feff}{key}\r\n"),
            format!("\u{feff}# newest first\n{key}\n"),
            format!("\u{feff}\n\u{feff}\u{feff}{key}\u{feff}\n"),
        ] {
            let ring = KeyFile::new(&text, 0o600)?.ring()?;
            assert_eq!(ring.ids(), "`key-1`", "{text:?}");
        }
        let text = format!("key-2 {ZEROS}\n\u{feff}{key}\n");
        let ring = KeyFile::new(&text, 0o600)?.ring()?;
        assert_eq!(ring.ids(), "`key-2`, `key-1`");
        Ok(())
    }

    /// The error about UTF-16, which Windows editors write, says what to do.
    #[test]
    fn refuses_utf_16() -> anyhow::Result<()> {
        let file = KeyFile::new("", 0o600)?;
        let text = format!("\u{feff}key-1 {ZEROS}");
        let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes);
        std::fs::write(&file.0, utf_16.collect::<Vec<_>>())?;
        assert_eq!(file.error(), "is not UTF-8; save it as UTF-8");
        Ok(())
    }

    /// A file that other users can read, or that is wrong, leads to an error that names file and line and quotes
    /// nothing of the file.
    #[test]
    fn refuses_a_file() -> anyhow::Result<()> {
        let line = format!("key-1 {ZEROS}\n");
        for (mode, shown) in [(0o640, "0640"), (0o604, "0604"), (0o644, "0644")] {
            let expected =
                format!("can be read by other users (mode {shown}); run `chmod 600` on it");
            assert_eq!(KeyFile::new(&line, mode)?.error(), expected);
        }
        let cases = [
            ("", "holds no key"),
            ("# key-1\n", "holds no key"),
            (ZEROS, "line 1: is not an id and a key"),
            (
                &format!("{line}{line}"),
                "line 2: two keys have the id key-1",
            ),
            ("key-1 hush!", "line 1: a key is not base64"),
            (
                "\nkey-1 aHVzaA==",
                "line 2: a key has 4 bytes, but AES-256 needs 32",
            ),
            (&format!("key 1 {ZEROS}"), "line 1: a key is not base64"),
            (
                &format!("key\u{200b}-1 {ZEROS}"),
                "line 1: a key's id is empty, or holds something other than letters, digits and ASCII punctuation",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(KeyFile::new(text, 0o600)?.error(), expected);
        }
        Ok(())
    }

    /// The `Debug` text of a codec contains no key.
    #[test]
    fn debug_shows_no_key() -> anyhow::Result<()> {
        let ring = KeyRing::new("id", PUBLISHED_DEVELOPMENT_KEY)?.with("id-2", &[0; 32])?;
        let debug = format!("{:?}", EncryptionCodec::new(ring));
        assert!(debug.contains("id-2"), "{debug}");
        for part in ["test-key", "116, 101", "0, 0", "74657374"] {
            assert!(!debug.contains(part), "{debug}");
        }
        Ok(())
    }
}
