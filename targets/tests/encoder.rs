//! Every A64 instruction that the encoder makes, read back by decoders that are not ours, and compared as text.

use std::process::Command;

use onnxc_targets::aarch64::inst::{Cond, Inst, SP, V, Width, X};
use onnxc_targets::aarch64::simd::{V2, V3, VImm, VLong, VShift};
use onnxc_targets::audit::a64_text;

/// All forms over registers and numbers that touch each field's ends.
fn samples() -> Vec<Inst> {
    let xs = [X(0), X(1), X(7), X(15), X(17), X(30)];
    let vs = [V(0), V(5), V(15), V(16), V(31)];
    let mut all = vec![Inst::BtiC, Inst::Ret];
    for (i, &d) in xs.iter().enumerate() {
        let (n, m) = (xs[(i + 1) % xs.len()], xs[(i + 3) % xs.len()]);
        all.extend([0, 1, 2, 63].map(|lsl| Inst::Add { d, n, m, lsl }));
        all.extend([1, 255, 4095].map(|imm| Inst::AddImm { d, n, imm }));
        all.extend([1, 64, 4095].map(|imm| Inst::SubImm { d, n, imm }));
        all.extend([0, 4, 4095].map(|imm| Inst::CmpImm { n: d, imm }));
        all.extend([1, 2, 32, 63].map(|by| Inst::LslImm { d, n, by }));
        all.extend([0, 1, 65535].map(|imm| Inst::MovImm { d, imm }));
        all.extend((0..4).map(|part| Inst::MovK {
            d,
            imm: 0xabcd >> part,
            part,
        }));
        all.extend([
            Inst::Sub { d, n, m },
            Inst::Subs { d, n, m },
            Inst::Cmp { n, m },
            Inst::Mov { d, n },
            Inst::Mul { d, n, m },
        ]);
        for imm in [1, 2048, 4095] {
            all.extend([
                Inst::AddImm12 { d, n, imm },
                Inst::SubImm12 { d, n, imm },
                Inst::SubsImm { d, n, imm },
                Inst::CmnImm { n, imm },
            ]);
        }
        for offset in [0, 8, 32760] {
            all.extend([
                Inst::LdrX { t: d, n, offset },
                Inst::StrX {
                    t: d,
                    n: SP,
                    offset,
                },
                Inst::Prfm { n, offset },
            ]);
        }
        for offset in [0, 2, 4094] {
            all.extend([
                Inst::LdrbX { t: d, n, offset },
                Inst::LdrhX { t: d, n, offset },
            ]);
        }
        for offset in [-256, -8, 255] {
            all.extend([Inst::LdurX { t: d, n, offset }, Inst::Prfum { n, offset }]);
        }
        all.extend([false, true].map(|scaled| Inst::LdrXIndex { t: d, n, m, scaled }));
        all.extend(vs.map(|v| Inst::DupX { d: v, n: d }));
        for &t in &vs {
            all.push(Inst::Ld1RS { t, n });
            for (w, size) in [
                (Width::B, 1),
                (Width::H, 2),
                (Width::S, 4),
                (Width::D, 8),
                (Width::Q, 16),
            ] {
                for scaled in [false, true] {
                    if w == Width::B && scaled {
                        continue;
                    }
                    all.extend([
                        Inst::LdrIndex { w, t, n, m, scaled },
                        Inst::StrIndex {
                            w,
                            t,
                            n: m,
                            m: d,
                            scaled,
                        },
                    ]);
                }
                for offset in [-256, -1, 1, 255] {
                    all.extend([
                        Inst::Ldur { w, t, n, offset },
                        Inst::Stur { w, t, n: d, offset },
                    ]);
                }
                for offset in [0, size, 16 * size, 4095 * size] {
                    all.extend([
                        Inst::Ldr { w, t, n, offset },
                        Inst::Str { w, t, n: d, offset },
                    ]);
                }
            }
            for lane in 0..4 {
                all.extend([
                    Inst::Ld1LaneS { t, lane, n, m },
                    Inst::St1LaneS {
                        t,
                        lane,
                        n: m,
                        m: d,
                    },
                ]);
            }
        }
    }
    all.extend([16, 64].map(|imm| Inst::SubImm { d: SP, n: SP, imm }));
    all.extend([16, 64].map(|imm| Inst::AddImm { d: SP, n: SP, imm }));
    for (i, &d) in vs.iter().enumerate() {
        let (n, m) = (vs[(i + 1) % vs.len()], vs[(i + 3) % vs.len()]);
        all.push(Inst::Zero { d });
        all.extend(V3::ALL.map(|op| Inst::V3 { op, d, n, m }));
        all.extend(VLong::ALL.map(|op| Inst::VLong { op, d, n, m }));
        all.push(Inst::V3 {
            op: V3::Orr,
            d,
            n,
            m: n,
        });
        all.extend(V2::ALL.map(|op| Inst::V2 { op, d, n }));
        all.extend([0, 8, 15].map(|by| Inst::Ext { d, n, m, by }));
        // A shift left by 0 is a move to some decoders.
        all.extend([1, 16, 31].map(|by| Inst::VShift {
            op: VShift::Shl,
            d,
            n,
            by,
        }));
        for by in [1, 16, 32] {
            all.extend([VShift::Sshr, VShift::Ushr].map(|op| Inst::VShift { op, d, n, by }));
        }
        for imm in [1, 0x7f, 0xff] {
            for by in [0, 8, 16, 24] {
                all.extend(
                    [VImm::Movi(by), VImm::Mvni(by), VImm::Orr(by)].map(|op| Inst::VImm {
                        op,
                        d,
                        imm,
                    }),
                );
            }
            for by in [8, 16] {
                all.extend(
                    [VImm::MoviOnes(by), VImm::MvniOnes(by)].map(|op| Inst::VImm { op, d, imm }),
                );
            }
        }
        for (w, lanes) in [(Width::B, 16), (Width::H, 8), (Width::S, 4), (Width::D, 2)] {
            for lane in [0, 1, lanes - 1] {
                all.extend([Inst::MovLane { w, d, n, lane }, Inst::Ins { w, d, lane, n }]);
            }
        }
        all.extend((0..4).map(|lane| Inst::DupS { d, n, lane }));
        all.extend((0..4).map(|lane| Inst::FmlaLane { d, n, m, lane }));
        all.extend((0..4).map(|lane| Inst::SdotLane { d, n, m, lane }));
        for second in [false, true] {
            all.extend((0..8).map(|lane| Inst::SmlalLane {
                d,
                n,
                m: V(m.0 % 16),
                lane,
                second,
            }));
        }
        for offset in [-512, -8, 0, 16, 504] {
            all.extend([
                Inst::StpD {
                    t: d,
                    u: n,
                    n: SP,
                    offset,
                },
                Inst::LdpD {
                    t: d,
                    u: m,
                    n: SP,
                    offset,
                },
            ]);
        }
    }
    for by in [-4, 8, 1 << 19] {
        all.extend([
            Inst::B { by },
            Inst::Cbz { n: X(3), by },
            Inst::Cbnz { n: X(30), by },
            Inst::LdrLit { t: V(17), by },
        ]);
        all.extend(
            [Cond::Eq, Cond::Ne, Cond::Ge, Cond::Lt, Cond::Gt, Cond::Le]
                .map(|cond| Inst::BCond { cond, by }),
        );
    }
    all
}

/// One spelling for what decoders write differently: numbers in decimal, aliases undone, no zero offsets.
fn plain(text: &str) -> String {
    let text = text
        .split("//")
        .next()
        .unwrap_or(text)
        .replace(['\t', ','], " ")
        .replace("$+", ".+")
        .replace("$-", ".-");
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let (open, rest) = word.find("0x").map_or((word, ""), |at| word.split_at(at));
        let digits = rest.trim_start_matches("0x");
        let end = digits
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(digits.len());
        words.push(match i64::from_str_radix(&digits[..end], 16) {
            Ok(n) if !rest.is_empty() => format!("{open}{n}{}", &digits[end..]),
            _ => word.to_string(),
        });
    }
    let text = words.join(" ");
    let text = text
        .replace(" #0]", "]")
        .replace("movz ", "mov ")
        .replace("hint #34", "bti c");
    // A shift by nothing that widens.
    let text = match text.strip_suffix(" #0") {
        Some(t) if t.starts_with("ushll") || t.starts_with("sshll") => t.replace("shll", "xtl"),
        _ => text,
    };
    // A lane in all lanes is called a move by one of them.
    let text = match text.strip_prefix("mov ") {
        Some(t) if t.contains(".4s ") && t.contains('[') => format!("dup {t}"),
        _ => text,
    };
    text.to_ascii_lowercase()
}

#[test]
fn yaxpeax_reads_the_same() {
    let mut wrong = vec![];
    // Products of matrices are none of its instructions: GNU's alone judges them.
    let matrices = |i: &Inst| {
        let op = match i {
            Inst::VLong { op, .. } => *op,
            _ => return false,
        };
        matches!(op, VLong::Smmla | VLong::Usmmla)
    };
    for inst in samples().into_iter().filter(|i| !matrices(i)) {
        let word = inst.encode().unwrap_or_else(|e| panic!("{e}"));
        let text = a64_text(word).unwrap_or_else(|| "no instruction".into());
        let (theirs, ours) = (plain(&text), plain(&inst.to_string()));
        if theirs != ours {
            wrong.push(format!("{word:08x}: {theirs} / {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gnu_reads_the_same() {
    let objdump = "aarch64-linux-gnu-objdump";
    if Command::new(objdump).arg("--version").output().is_err() {
        eprintln!("skipped: {objdump} is not installed");
        return;
    }
    // Distances become addresses there; the first decoder has read them.
    let list: Vec<Inst> = samples()
        .into_iter()
        .filter(|i| {
            !matches!(
                i,
                Inst::B { .. }
                    | Inst::BCond { .. }
                    | Inst::Cbz { .. }
                    | Inst::Cbnz { .. }
                    | Inst::LdrLit { .. }
            )
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("code.bin");
    let bytes: Vec<u8> = list
        .iter()
        .flat_map(|i| i.encode().unwrap().to_le_bytes())
        .collect();
    std::fs::write(&file, bytes).unwrap();
    let out = Command::new(objdump)
        .args(["-D", "-b", "binary", "-m", "aarch64"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_once(":\t").map(|(_, rest)| rest))
        .collect();
    assert_eq!(lines.len(), list.len());
    for (line, inst) in lines.iter().zip(&list) {
        let (_, text) = line.split_once('\t').unwrap();
        assert_eq!(plain(text), plain(&inst.to_string()), "{line}");
    }
}
