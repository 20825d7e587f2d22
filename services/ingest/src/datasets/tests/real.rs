//! Recorded data as sets: what is detected in it, and what is wrong, as counted by other programs.
//! It is read from `TOCSIN_TEST_DATA`, or from `../shared/data` beside the checkout; without it these
//! tests say that they were not run, or fail where it was promised.

use super::*;
use tocsin_testkit::data::set as data;

fn load(text: &str, paths: &[PathBuf]) -> (Report, usize, usize) {
    let (set, log) = (parse(text), memory_log());
    let upload = Upload::open(&set, paths).unwrap();
    let report = loader(&log, &set).load(&upload, &mut || true).unwrap().report;
    let counts = (rows(&*log).len() - 2, dead(&*log).len());
    (report, counts.0, counts.1)
}

#[test]
fn an_italian_file_with_semicolons_commas_and_an_empty_tail() {
    let Some(directory) = data("uci_air_quality") else { return };
    let (report, events, dead) = load(
        r#"
        [[datasets]]
        name = "air"
        date_format = "%d/%m/%Y"
        [[datasets.files]]
        name = "hours"
        pattern = "AirQualityUCI*"
        key = ["Date", "Time"]
        types = { Date = "date", "CO(GT)" = "decimal", T = "decimal", "PT08.S1(CO)" = "whole" }
        "#,
        &[directory.join("AirQualityUCI.csv.gz")],
    );
    let truth: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.join("truth.json")).unwrap()).unwrap();
    let file = &report.files[0];
    assert_eq!(file.bytes, truth["bytes"]);
    assert_eq!((events, dead, report.blank), (9_357, 0, 114));
    assert_eq!(
        (truth["data_rows"].as_u64(), truth["blank_tail_lines"].as_u64()),
        (Some(9_357), Some(114))
    );
    assert_eq!((file.delimiter, file.decimal, file.line_end.as_str()), (';', Some(','), "crlf"));
    assert!(report.faults.is_empty() && file.gzip, "{:?}", report.findings.first());
}

#[test]
fn five_files_of_a_shop_refer_to_each_other() {
    let Some(directory) = data("olist_10k") else { return };
    let names =
        ["customers", "orders", "order_items", "products", "product_category_name_translation"];
    let paths = names.map(|name| directory.join(format!("{name}.csv.gz")));
    let (report, events, dead) = load(
        r#"
        [[datasets]]
        name = "shop"
        [[datasets.files]]
        name = "customers"
        key = ["customer_id"]
        [[datasets.files]]
        name = "product_category_name_translation"
        key = ["product_category_name"]
        [[datasets.files]]
        name = "products"
        key = ["product_id"]
        types = { product_weight_g = "decimal" }
        references = { product_category_name = "product_category_name_translation.product_category_name" }
        [[datasets.files]]
        name = "orders"
        key = ["order_id"]
        required = ["order_status"]
        types = { order_purchase_timestamp = "date", order_approved_at = "date" }
        references = { customer_id = "customers.customer_id" }
        [[datasets.files]]
        name = "order_items"
        key = ["order_id", "order_item_id"]
        types = { order_item_id = "whole", price = "decimal", freight_value = "decimal" }
        references = { order_id = "orders.order_id", product_id = "products.product_id" }
        "#,
        &paths,
    );
    assert_eq!((events, dead), (10_000 + 71 + 6_123 + 10_000 + 11_252, 0));
    // One category is missing in the translation; 116 products have none, which breaks nothing.
    assert_eq!(report.faults, BTreeMap::from([(Kind::BrokenReference, 1)]));
    assert_eq!(report.findings[0].file, "products");
}

#[test]
fn a_file_of_a_spreadsheet_with_a_mark_and_short_years() {
    let Some(directory) = data("superstore") else { return };
    let (report, events, dead) = load(
        r#"
        [[datasets]]
        name = "store"
        date_format = "%d/%m/%y"
        [[datasets.files]]
        name = "sales"
        pattern = "sample_superstore*"
        key = ["Row ID"]
        types = { "Order Date" = "date", "Ship Date" = "date", Sales = "decimal", Quantity = "whole", Profit = "decimal" }
        "#,
        &[directory.join("sample_superstore.csv.gz")],
    );
    assert_eq!((events, dead), (10_194, 0));
    let file = &report.files[0];
    assert_eq!(
        (file.byte_order_mark, file.line_end.as_str(), file.decimal),
        (true, "crlf", Some('.'))
    );
    assert!(report.faults.is_empty(), "{:?}", report.findings.first());
}
