//! Creates a project from a sample.

use crate::{
    files::{files, read},
    manifest,
    names::{self, Names},
    readme,
    request::Request,
};
use anyhow::{Context, bail};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use toml_edit::DocumentMut;

/// Files of a project that come from `template`, with `{{name}}` and other placeholders filled in.
const TEMPLATE: [(&str, &str); 6] = [
    (".dockerignore", include_str!("../template/.dockerignore")),
    (
        ".github/workflows/ci.yml",
        include_str!("../template/.github/workflows/ci.yml"),
    ),
    (".gitignore", include_str!("../template/.gitignore")),
    ("Dockerfile", include_str!("../template/Dockerfile")),
    ("Makefile", include_str!("../template/Makefile")),
    (
        "docker-compose.yml",
        include_str!("../template/docker-compose.yml"),
    ),
];
/// Replacements for these lines of docker-compose.yml if the worker encrypts. The server is not on a loopback
/// address there, so the worker refuses the development key without this flag.
const WITH_KEYS: [(&str, &str); 2] = [
    (
        "    # {{command}}\n",
        "    # Without a key of your own, payloads are encrypted with the development key, which is public. If you\n    \
         # set a key, delete this line.\n    \
         command: --insecure-development-key\n",
    ),
    (
        "      # {{environment}}\n",
        "      TEMPORAL_ENCRYPTION_KEY: ${TEMPORAL_ENCRYPTION_KEY:-}\n      \
         TEMPORAL_ENCRYPTION_KEY_ID: ${TEMPORAL_ENCRYPTION_KEY_ID:-}\n",
    ),
];
const README: &str = include_str!("../template/README.md");
const KILL_TEST: &str = include_str!("../template/killed.rs");

/// The scripts that a project needs, and their names in the project.
const SCRIPTS: [(&str, &str); 4] = [
    ("address", "address"),
    ("sample", "app"),
    ("server", "server"),
    ("temporal-cli", "temporal-cli"),
];

/// Creates the project in a temporary folder beside its destination, and moves it there when it is complete.
///
/// # Errors
/// If a file cannot be read or written, or if cargo refuses the project. Nothing is left behind then.
pub fn create(root: &Path, request: &Request) -> anyhow::Result<()> {
    let parent = request.dir.parent().context("DIR has no folder above it")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let half = Half(parent.join(format!(".{}.new-{}", request.name, std::process::id())));
    fs::create_dir(&half.0).with_context(|| format!("cannot make {}", half.0.display()))?;
    Project::new(root, request, &half.0)?.write()?;
    finish(&half.0)?;
    fs::rename(&half.0, &request.dir)
        .with_context(|| format!("cannot move the project to {}", request.dir.display()))
}

/// A project that is not complete yet. It is deleted on drop.
struct Half(PathBuf);

impl Drop for Half {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            // The complete project has been moved.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => eprintln!("left     {}: {error}", self.0.display()),
            Ok(()) => {}
        }
    }
}

struct Project<'a> {
    root: &'a Path,
    to: &'a Path,
    names: Names,
    workspace: DocumentMut,
    sample: DocumentMut,
    /// The folders of the crates that are copied.
    crates: BTreeSet<String>,
    /// Files and folders that are not copied.
    without: BTreeSet<String>,
    binaries: Vec<String>,
}

impl<'a> Project<'a> {
    fn new(root: &'a Path, request: &Request, to: &'a Path) -> anyhow::Result<Self> {
        let mut sample = document(root, &format!("samples/{}/Cargo.toml", request.pattern))?;
        let workspace = document(root, "Cargo.toml")?;
        let without = manifest::without(&mut sample)?;
        let binaries = manifest::binaries(&sample, &request.pattern)?;
        Ok(Self {
            root,
            to,
            names: Names::new(&request.pattern, &request.name, &binaries)?,
            crates: crates(root, &sample, &workspace)?,
            workspace,
            sample,
            without,
            binaries,
        })
    }

    fn write(mut self) -> anyhow::Result<()> {
        self.write_shared()?;
        self.write_sample()?;
        self.write_kill_test()?;
        self.write_template()?;
        for file in [".clippy.toml", "Cargo.lock"] {
            self.copy(&self.root.join(file), file)?;
        }
        self.copy(&self.root.join("LICENSE"), "shared/LICENSE")
    }

    /// Writes the crates of `shared` that the sample needs, and the scripts.
    fn write_shared(&self) -> anyhow::Result<()> {
        for folder in &self.crates {
            let from = self.root.join(folder);
            let mut sources = String::new();
            let build = Some(from.join("build.rs")).filter(|file| file.is_file());
            for file in files(&from.join("src"))?.into_iter().chain(build) {
                let source = read(&file)?;
                sources.push_str(&source);
                self.put(file.strip_prefix(self.root)?, &self.names.rust(&source)?)?;
            }
            let mut manifest = document(self.root, &format!("{folder}/Cargo.toml"))?;
            manifest::prune(&mut manifest, &sources)?;
            manifest::resolve(&mut manifest, &self.workspace)?;
            manifest::lead_to_crates(&mut manifest, folder)?;
            let text = self.names.text(&manifest.to_string());
            let path = Path::new(folder).join("Cargo.toml");
            self.put(&path, &format!("{}\n", text.trim_end()))?;
        }
        for (script, called) in SCRIPTS {
            let file = self.root.join("shared/scripts").join(script);
            let to = format!("shared/scripts/{called}");
            // Copied for its permissions. Writing the new text keeps them.
            self.copy(&file, &to)?;
            let text = names::without_dropped(&read(&file)?, &file)?;
            let text = text.replace("folder=samples/$pattern", "folder=.");
            self.put(Path::new(&to), &self.names.script(&text))?;
        }
        Ok(())
    }

    fn write_sample(&mut self) -> anyhow::Result<()> {
        let from = self.root.join("samples").join(&self.names.pattern);
        manifest::resolve(&mut self.sample, &self.workspace)?;
        manifest::rename(
            &mut self.sample,
            &self.workspace,
            &self.names.pattern,
            &self.names.name,
            &self.crates,
        )?;
        self.sample["profile"] = manifest::profiles(&self.workspace)?;
        let text = self.sample.to_string();
        self.put(Path::new("Cargo.toml"), &format!("{}\n", text.trim_end()))?;
        for file in files(&from)? {
            let path = file.strip_prefix(&from)?;
            let kind = path.extension().unwrap_or_default().to_string_lossy();
            match &*kind {
                _ if self.without.iter().any(|file| path.starts_with(file)) => {}
                // Written elsewhere.
                _ if path == Path::new("Cargo.toml") || path == Path::new("README.md") => {}
                "rs" => {
                    let renamed = self.names.rust(&read(&file)?);
                    let mut renamed = renamed.with_context(|| format!("{}", file.display()))?;
                    if path == Path::new("tests/main.rs") {
                        renamed = renamed.replacen("mod replay;", "mod killed;\nmod replay;", 1);
                    }
                    self.put(path, &renamed)?;
                }
                "sh" => {
                    let text = names::without_dropped(&read(&file)?, &file)?;
                    self.put(path, &self.names.script(&text))?;
                }
                "json" | "md" | "py" | "toml" | "ts" | "yaml" | "yml" => {
                    self.put(path, &self.names.text(&read(&file)?))?;
                }
                _ => self.copy(&file, path)?,
            }
        }
        Ok(())
    }

    /// Writes a test that kills the worker. In the workspace, one test kills the workers of all samples.
    fn write_kill_test(&self) -> anyhow::Result<()> {
        let converter = match self.encrypts()? {
            false => "shared::data_converter()".to_owned(),
            true => format!(
                "{}::data_converter(payload_codec::EncryptionArgs::default().codec(None)?)",
                self.names.name.replace('-', "_")
            ),
        };
        let text = KILL_TEST
            .replace("{{name}}", &self.names.name)
            .replace("{{data_converter}}", &converter);
        self.put(Path::new("tests/killed.rs"), &text)
    }

    /// Whether the sample encrypts by default.
    fn encrypts(&self) -> anyhow::Result<bool> {
        let load = format!("samples/{}/tests/load.json", self.names.pattern);
        Ok(read(&self.root.join(load))?.contains("\"encrypted\": true"))
    }

    fn write_template(&self) -> anyhow::Result<()> {
        let name = &self.names.name;
        let (mut more, mut targets) = (String::new(), String::new());
        for binary in &self.binaries {
            if !["worker", "starter"].contains(&binary.as_str()) {
                more.push_str(&format!(" {binary}"));
                targets.push_str(&format!(
                    "\n{binary}: ## Run {name}-{binary} (ARGS=--help)\n\
                     \t@cargo run --quiet --bin {name}-{binary} -- $(ARGS)\n"
                ));
            }
        }
        let rust = self.sample["package"]["rust-version"]
            .as_str()
            .context("no rust-version")?;
        let fill = |text: &str| {
            text.replace("{{name}}", name)
                .replace("{{rust}}", rust)
                .replace("{{more}}", &more)
                .replace("{{targets}}", &targets)
        };
        let encrypts = self.encrypts()?;
        let mut makefile = String::new();
        for (path, text) in TEMPLATE {
            let text = WITH_KEYS.iter().fold(fill(text), |text, (line, with)| {
                text.replace(line, if encrypts { with } else { "" })
            });
            self.put(Path::new(path), &text)?;
            if path == "Makefile" {
                makefile = text;
            }
        }
        let path = self.root.join("samples").join(&self.names.pattern);
        let text = readme::readme(
            &readme::Sources {
                template: &fill(README),
                sample: &read(&path.join("README.md"))?,
                top: &read(&self.root.join("README.md"))?,
                makefile: &makefile,
            },
            &self.names,
            self.sample["package"]["description"]
                .as_str()
                .context("no description")?,
        )?;
        self.put(Path::new("README.md"), &text)
    }

    fn put(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        let path = self.to.join(path);
        make_parent(&path)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn copy(&self, from: &Path, path: impl AsRef<Path>) -> anyhow::Result<()> {
        let path = self.to.join(path);
        make_parent(&path)?;
        fs::copy(from, &path).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }
}

fn document(root: &Path, path: &str) -> anyhow::Result<DocumentMut> {
    let parsed = read(&root.join(path))?.parse();
    parsed.with_context(|| format!("cannot parse {path}"))
}

/// Returns the folders of the workspace's crates that a sample depends on, directly or indirectly.
fn crates(
    root: &Path,
    sample: &DocumentMut,
    workspace: &DocumentMut,
) -> anyhow::Result<BTreeSet<String>> {
    let mut folders = manifest::crates(sample, &manifest::DEPENDENCIES, workspace);
    loop {
        let mut more = folders.clone();
        for folder in &folders {
            let one = document(root, &format!("{folder}/Cargo.toml"))?;
            more.extend(manifest::crates(&one, &["dependencies"], workspace));
        }
        if more.len() == folders.len() {
            return Ok(folders);
        }
        folders = more;
    }
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Removes unneeded packages from `Cargo.lock` without changing versions, and formats the code, because other names
/// change the line breaks.
fn finish(folder: &Path) -> anyhow::Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        // The variables of this `cargo run` must not affect the other cargo.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*name) {
                command.env_remove(&*name);
            }
        }
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
    };
    // Whatever needs the dependencies makes cargo write the lock file. Of such commands, this is the shortest to run.
    // The packages are there, because cargo has built this program.
    let locked = cargo(&["tree", "--depth", "0", "--offline"])?;
    if !locked.status.success() {
        let locked = cargo(&["tree", "--depth", "0"])?;
        if !locked.status.success() {
            bail!("cargo refuses the project: {}", said(&locked.stderr));
        }
    }
    let formatted = cargo(&["fmt", "--all"])?;
    if !formatted.status.success() {
        eprintln!(
            "format   rustup component add rustfmt, then make fmt: {}",
            said(&formatted.stderr)
        );
    }
    Ok(())
}

/// Returns the line that states an error of many lines.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let error = text.lines().find(|line| line.starts_with("error"));
    error.unwrap_or("it does not say why").to_owned()
}
