//! How the programs of this package are linked.

mod link;

fn main() {
    link::tell();
}
