//! Target triples of any vendor.
//!
//! A triple is read leniently (`aarch64-poky-linux-gnu`, `aarch64-none-elf`, `aarch64`), because every tool chain spells its
//! own, and reduced to what matters: the architecture, and whether there is an operating system. What is made is always
//! ELF. Variants with another byte order, pointer size or without floating point are refused, never mistaken for their kin.

use std::fmt;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use target_lexicon as lexicon;

use crate::{Arch, suggest};

/// A target that objects can be made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// As the user wrote it.
    pub text: String,
    /// The architecture.
    pub arch: Arch,
    /// The operating system, or `None` on bare metal.
    pub os: Option<&'static str>,
    /// Whether the C library is musl: of no weight here, but build scripts compare.
    pub musl: bool,
}

/// Operating systems whose objects are ELF with the System V calling convention; other spellings lead to the same.
const SYSTEMS: &[(&str, &str)] = &[
    ("linux", "linux"),
    ("android", "linux"),
    ("freebsd", "freebsd"),
    ("kfreebsd", "freebsd"),
    ("netbsd", "netbsd"),
    ("openbsd", "openbsd"),
    ("dragonfly", "dragonfly"),
    ("solaris", "solaris"),
    ("illumos", "illumos"),
    ("fuchsia", "fuchsia"),
    ("haiku", "haiku"),
    ("hermit", "hermit"),
    ("redox", "redox"),
    ("nto", "nto"),
    ("qnx", "nto"),
    ("l4re", "l4re"),
    ("managarm", "managarm"),
    ("trusty", "trusty"),
    ("vxworks", "vxworks"),
    ("rtems", "rtems"),
    ("nuttx", "nuttx"),
    ("zephyr", "zephyr"),
];

/// Words that say that there is no operating system.
const BARE: &[&str] = &["none", "elf", "eabi", "unknown"];

/// Systems whose objects are not ELF.
const NOT_ELF: &[&str] = &[
    "windows", "mingw32", "mingw64", "cygwin", "win32", "darwin", "macos", "macosx", "ios", "tvos",
    "watchos", "visionos", "uefi", "msvc", "coff",
];

/// Well-known triples, for `--print target-list`.
pub const WELL_KNOWN: &[&str] = &[
    "aarch64-linux-android",
    "aarch64-linux-gnu",
    "aarch64-none-elf",
    "aarch64-none-linux-gnu",
    "aarch64-poky-linux",
    "aarch64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "aarch64-unknown-none",
    "aarch64-unknown-nto-qnx710",
    "x86_64-linux-gnu",
    "x86_64-linux-musl",
    "x86_64-none-elf",
    "x86_64-pc-linux-gnu",
    "x86_64-poky-linux",
    "x86_64-unknown-freebsd",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "x86_64-unknown-none",
];

fn refuse(text: &str, why: &str, help: &str) -> Box<Diagnostic> {
    Diagnostic::usage(
        "USE003",
        format!("no code can be made for the target `{text}`: {why}"),
    )
    .help(help)
}

/// `gnu` of `gnu2.17`, `freebsd` of `freebsd14`, but `nto` of `nto-qnx710` and `x86_64` untouched.
fn stem(word: &str) -> &str {
    word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

fn architecture(text: &str, word: &str) -> Result<Arch> {
    match word {
        "aarch64" | "arm64" | "arm64e" | "armv8a" | "arm64v8" => Ok(Arch::Aarch64),
        "x86_64" | "amd64" | "x64" | "x86-64" | "x86_64h" | "x86_64_v2" | "x86_64_v3"
        | "x86_64_v4" => Ok(Arch::X86_64),
        "aarch64_be" | "arm64_be" | "aarch64be" => Err(refuse(
            text,
            "it is big-endian",
            "use aarch64, the little-endian one",
        )),
        "arm64_32" | "aarch64_32" | "aarch64_ilp32" => {
            Err(refuse(text, "its pointers have 32 bits", "use aarch64"))
        }
        "arm64ec" => Err(refuse(
            text,
            "only ELF objects are made",
            "use aarch64-unknown-linux-gnu",
        )),
        _ => {
            let e = suggest::unknown(
                "architecture",
                word,
                ["aarch64", "arm64", "x86_64", "amd64"],
                "x86_64 and aarch64 are supported",
            );
            Err(Diagnostic::usage(
                "USE003",
                format!("no code can be made for the target `{text}`: {}", e.message),
            )
            .help(e.help))
        }
    }
}

impl Target {
    /// Reads a triple, `ARCH[-VENDOR][-SYSTEM][-ENVIRONMENT]`.
    pub fn parse(text: &str) -> Result<Target> {
        let lower = text.trim().to_ascii_lowercase();
        // The one architecture with a hyphen that people write.
        let lower = lower
            .strip_prefix("x86-64")
            .map_or(lower.clone(), |rest| format!("x86_64{rest}"));
        let mut words = lower.split('-').filter(|w| !w.is_empty());
        let Some(first) = words.next() else {
            return Err(Diagnostic::usage("USE003", "the target is empty")
                .help("`--print target-list` shows some"));
        };
        let arch = architecture(text, first)?;
        let rest: Vec<&str> = words.collect();
        for word in &rest {
            if NOT_ELF.contains(word) || NOT_ELF.contains(&stem(word)) {
                let elf = match arch {
                    Arch::X86_64 => "x86_64-unknown-linux-gnu",
                    Arch::Aarch64 => "aarch64-unknown-linux-gnu",
                };
                return Err(refuse(
                    text,
                    "only ELF objects are made",
                    &format!("for Linux or bare metal use e.g. `--target {elf}`"),
                ));
            }
            if word.contains("ilp32") || word.ends_with("x32") {
                return Err(refuse(
                    text,
                    "its pointers have 32 bits",
                    "use the 64-bit environment, `gnu` or `musl`",
                ));
            }
            if arch == Arch::Aarch64 && word.contains("softfloat") {
                return Err(refuse(
                    text,
                    "it has no floating-point registers",
                    "use aarch64-unknown-none",
                ));
            }
        }
        let system = rest.iter().find_map(|w| {
            SYSTEMS
                .iter()
                .find(|(name, _)| *name == stem(w))
                .map(|(_, os)| *os)
        });
        // Only the last word tells: in `aarch64-none-linx-gnu` a misspelt system must not become bare metal.
        let bare = rest
            .last()
            .is_none_or(|w| BARE.contains(w) || *w == "softfloat");
        if system.is_none() && !bare {
            // A lone vendor (`aarch64-poky`) is not enough to know what was meant.
            let last = rest.last().copied().unwrap_or_default();
            let e = suggest::unknown(
                "operating system",
                last,
                SYSTEMS.iter().map(|(n, _)| *n).chain(BARE.iter().copied()),
                "linux and none are the usual ones",
            );
            return Err(Diagnostic::usage(
                "USE003",
                format!("in the target `{text}`: {}", e.message),
            )
            .help(e.help));
        }
        Ok(Target {
            text: text.trim().to_string(),
            arch,
            os: system,
            musl: rest.iter().any(|w| w.starts_with("musl")),
        })
    }

    /// What libraries that speak target-lexicon are given: the plainest triple with the same meaning, always ELF.
    pub fn lexicon(&self) -> lexicon::Triple {
        lexicon::Triple {
            architecture: match self.arch {
                Arch::X86_64 => lexicon::Architecture::X86_64,
                Arch::Aarch64 => {
                    lexicon::Architecture::Aarch64(lexicon::Aarch64Architecture::Aarch64)
                }
            },
            vendor: lexicon::Vendor::Unknown,
            operating_system: if self.os.is_some() {
                lexicon::OperatingSystem::Linux
            } else {
                lexicon::OperatingSystem::None_
            },
            environment: match self.os {
                Some(_) if self.musl => lexicon::Environment::Musl,
                Some(_) => lexicon::Environment::Gnu,
                None => lexicon::Environment::Unknown,
            },
            binary_format: lexicon::BinaryFormat::Elf,
        }
    }

    /// The triple of the machine that this program runs on; code for it can run in process if the program is an ELF one.
    pub fn host() -> Result<Target> {
        Target::parse(&lexicon::HOST.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_vendor_parses() {
        let list = [
            ("aarch64-poky-linux-gnu", Arch::Aarch64, Some("linux")),
            ("aarch64-poky-linux", Arch::Aarch64, Some("linux")),
            ("aarch64-none-linux-gnu", Arch::Aarch64, Some("linux")),
            ("aarch64-none-elf", Arch::Aarch64, None),
            ("aarch64-unknown-none", Arch::Aarch64, None),
            ("aarch64-elf", Arch::Aarch64, None),
            ("arm64-apple-none", Arch::Aarch64, None),
            ("aarch64-linux-android21", Arch::Aarch64, Some("linux")),
            ("aarch64-unknown-nto-qnx710", Arch::Aarch64, Some("nto")),
            ("x86_64-linux-musl", Arch::X86_64, Some("linux")),
            ("x86-64-linux-gnu", Arch::X86_64, Some("linux")),
            ("X86_64-Unknown-Linux-GNU", Arch::X86_64, Some("linux")),
            ("amd64-portbld-freebsd14.1", Arch::X86_64, Some("freebsd")),
            ("x86_64", Arch::X86_64, None),
        ];
        for (text, arch, os) in list {
            let t = Target::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((t.arch, t.os), (arch, os), "{text}");
            assert_eq!(t.lexicon().binary_format, lexicon::BinaryFormat::Elf);
            assert_eq!(t.text, text);
        }
    }

    #[test]
    fn well_known_ones_parse_in_order() {
        assert!(WELL_KNOWN.is_sorted());
        WELL_KNOWN
            .iter()
            .for_each(|t| assert!(Target::parse(t).is_ok(), "{t}"));
    }

    #[test]
    fn the_wrong_ones_are_refused_with_the_reason() {
        for (text, why) in [
            ("aarch64_be-unknown-linux-gnu", "big-endian"),
            ("x86_64-unknown-linux-gnux32", "32 bits"),
            ("x86_64-linux-muslx32", "32 bits"),
            ("aarch64-unknown-linux-gnu_ilp32", "32 bits"),
            ("arm64_32-apple-watchos", "32 bits"),
            ("x86_64-pc-windows-msvc", "only ELF"),
            ("aarch64-apple-darwin", "only ELF"),
            ("x86_64-apple-macosx10.12", "only ELF"),
            ("x86_64-unknown-uefi", "only ELF"),
            ("riscv64gc-unknown-linux-gnu", "not a known architecture"),
            ("armv7-unknown-linux-gnueabihf", "not a known architecture"),
            ("i686-unknown-linux-gnu", "not a known architecture"),
            ("aarch64-unknown-none-softfloat", "floating-point"),
            ("aarch64-poky", "not a known operating system"),
            ("", "empty"),
            ("-", "empty"),
        ] {
            let e = Target::parse(text).unwrap_err();
            assert!(e.message.contains(why) && !e.help.is_empty(), "{text}: {e}");
        }
        assert!(
            Target::parse("aarch65-linux-gnu")
                .unwrap_err()
                .help
                .contains("aarch64")
        );
        for text in ["aarch64-unknown-linx", "aarch64-poky-linx"] {
            assert!(
                Target::parse(text).unwrap_err().help.contains("linux"),
                "{text}"
            );
        }
        assert!(Target::parse("aarch64-none-linx-gnu").is_err());
    }
}
