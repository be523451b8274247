//! What a build script is told: by cargo, and by the user.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Message;

/// Where variables come from: a build script's own environment, or a list.
pub struct Environment {
    list: Option<BTreeMap<String, String>>,
    asked: RefCell<BTreeSet<String>>,
}

/// What code is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// As cargo names it: what overrides are looked up by.
    pub cargo: String,
    /// What the compiler is told.
    pub triple: String,
    /// Whether it is the host.
    pub host: bool,
    /// Whether only documentation is made: nothing is linked.
    pub docs: bool,
    /// Whether the triple stands in for one that no code can be made for.
    pub stands_in: bool,
}

impl Environment {
    /// That of the process.
    pub fn process() -> Environment {
        Environment {
            list: None,
            asked: RefCell::default(),
        }
    }

    /// The variables listed and no others: for build systems that are not cargo. `TARGET`, `HOST` and `OUT_DIR` are needed.
    pub fn of<K: Into<String>, V: Into<String>>(
        list: impl IntoIterator<Item = (K, V)>,
    ) -> Environment {
        Environment {
            list: Some(
                list.into_iter()
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect(),
            ),
            asked: RefCell::default(),
        }
    }

    /// A variable that cargo sets; empty ones count as absent.
    pub(crate) fn cargo(&self, name: &str) -> Option<String> {
        let value = match &self.list {
            Some(list) => list.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|v| !v.is_empty())
    }

    /// The same, or why there is no going on.
    pub(crate) fn needed(&self, name: &str) -> Result<String, Message> {
        self.cargo(name).ok_or_else(|| {
            let text = format!("the variable {name} is not set");
            Message::error(text, "call onnxc_build from a build script that cargo runs")
        })
    }

    /// A variable that a user may set: cargo is told that the result depends on it.
    pub(crate) fn user(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().insert(name.to_string());
        self.cargo(name)
    }

    /// `VAR_<target>`, the same with underscores, `TARGET_VAR` or `HOST_VAR`, `VAR`: the first that is set. All are noted, since each
    /// would change the result if it were set later.
    pub(crate) fn look_up(&self, name: &str, target: &Target) -> Option<String> {
        let kind = if target.host { "HOST" } else { "TARGET" };
        let spelled = target.cargo.replace(['-', '.'], "_");
        [
            format!("{name}_{}", target.cargo),
            format!("{name}_{spelled}"),
            format!("{kind}_{name}"),
            name.to_string(),
        ]
        .iter()
        .map(|n| self.user(n))
        .fold(None, |first, next| first.or(next))
    }

    /// The variables asked for that a user may set.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().iter().cloned().collect()
    }

    /// The target. A specification of the user's own (`my-board.json`) has any name, so that it is known by its parts.
    pub(crate) fn target(&self) -> Result<Target, Message> {
        let cargo = self.needed("TARGET")?;
        let docs = self.user("DOCS_RS").is_some();
        let host = self.cargo("HOST").as_deref() == Some(cargo.as_str());
        let part = |name: &str| self.cargo(&format!("CARGO_CFG_TARGET_{name}"));
        let arch = part("ARCH").unwrap_or_default();
        let known = matches!(arch.as_str(), "x86_64" | "aarch64");
        let plain = part("ENDIAN").is_none_or(|e| e == "little")
            && part("POINTER_WIDTH").is_none_or(|w| w == "64");
        if docs {
            let arch = if known { arch.as_str() } else { "x86_64" };
            return Ok(Target {
                triple: format!("{arch}-unknown-linux-gnu"),
                cargo,
                host,
                docs,
                stands_in: !known,
            });
        }
        let own_name = cargo.split('-').next() != Some(arch.as_str());
        let triple = match (own_name && known && plain, part("OS")) {
            (true, Some(os)) => {
                let env = part("ENV").map(|e| format!("-{e}")).unwrap_or_default();
                format!("{arch}-unknown-{os}{env}")
            }
            _ => cargo.clone(),
        };
        Ok(Target {
            cargo,
            triple,
            host,
            docs,
            stands_in: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poky() -> Target {
        let env = Environment::of([
            ("TARGET", "aarch64-poky-linux-gnu"),
            ("HOST", "x86_64-unknown-linux-gnu"),
            ("CARGO_CFG_TARGET_ARCH", "aarch64"),
        ]);
        env.target().unwrap()
    }

    #[test]
    fn the_nearest_override_wins() {
        let names = [
            "V_aarch64-poky-linux-gnu",
            "V_aarch64_poky_linux_gnu",
            "TARGET_V",
            "V",
        ];
        for k in 0..4 {
            let env = Environment::of(names[k..].iter().map(|n| (*n, *n)));
            assert_eq!(env.look_up("V", &poky()).as_deref(), Some(names[k]));
            assert_eq!(env.asked().len(), 4);
        }
        let env = Environment::of([("HOST_V", "x"), ("V_x86_64_unknown_linux_gnu", "x")]);
        assert_eq!(env.look_up("V", &poky()), None);
    }

    #[test]
    fn targets_of_any_vendor_and_of_any_name() {
        assert_eq!(poky().triple, "aarch64-poky-linux-gnu");
        let of = |target: &str, list: &[(&str, &str)]| {
            let mut all = vec![("TARGET".to_string(), target.to_string())];
            let parts = list
                .iter()
                .map(|(k, v)| (format!("CARGO_CFG_TARGET_{k}"), v.to_string()));
            all.extend(parts);
            Environment::of(all).target().unwrap().triple
        };
        let board = [("ARCH", "aarch64"), ("OS", "none"), ("ENDIAN", "little")];
        assert_eq!(of("my-board", &board), "aarch64-unknown-none");
        let linux = [("ARCH", "x86_64"), ("OS", "linux"), ("ENV", "musl")];
        assert_eq!(of("my-board", &linux), "x86_64-unknown-linux-musl");
        // What can't be compiled for keeps its name, so that the compiler says why.
        let big = [("ARCH", "aarch64"), ("OS", "linux"), ("ENDIAN", "big")];
        let name = "aarch64_be-unknown-linux-gnu";
        assert_eq!(of(name, &big), name);
        assert!(Environment::of([("HOST", "x")]).target().is_err());
    }
}
