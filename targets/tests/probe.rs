//! Probes of every level: only declared instructions, a landing pad where asked for, and copies that copy.

use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::ir::Callee;
use onnxc_targets::Arch;
use onnxc_targets::audit::audit;
use onnxc_targets::features::{Feature, FeatureSet};
use onnxc_targets::probe::{COPY, FMA, PRODUCTS, READ, multipliers, rows, work};

fn make(tile: &Tile, pad: bool) -> Vec<u8> {
    let callee = Callee {
        kernel: tile.name.into(),
        contract: tile.contract.into(),
        shape: vec![],
    };
    (tile.make)(&callee, pad).unwrap().bytes
}

#[test]
fn only_declared_instructions() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let products = multipliers(arch).iter().map(|p| p.tile);
        let tiles: Vec<&Tile> = rows(arch).iter().copied().chain(products).collect();
        for tile in &tiles {
            let needs: Vec<Feature> = tile
                .needs
                .iter()
                .map(|n| Feature::parse(arch, n).unwrap())
                .collect();
            let allowed = FeatureSet::base(arch).with(FeatureSet::of(&needs).closed());
            let code = make(tile, false);
            assert_eq!(audit(&code, arch, allowed), vec![], "{}", tile.name);
            assert_eq!(make(tile, true).len(), code.len() + 4, "{}", tile.name);
            assert_eq!(work(tile) > 0, [FMA, PRODUCTS].contains(&tile.contract));
        }
        // Every machine has one of each.
        for contract in [FMA, READ, COPY] {
            let base = FeatureSet::base(arch);
            let runs = |t: &&&Tile| {
                let mut needs = t.needs.iter().filter_map(|n| Feature::parse(arch, n));
                t.contract == contract && needs.all(|f| base.has(f))
            };
            assert_eq!(tiles.iter().filter(runs).count(), 1, "{contract}");
        }
    }
}
