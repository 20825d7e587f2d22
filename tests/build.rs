//! How the programs of this package are linked.

#[path = "../services/tocsin/link.rs"]
mod link;

fn main() {
    link::tell();
}
