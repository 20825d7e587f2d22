//! The index against spot values of the federal rule (measure, averaging, unit, concentration, index,
//! band).

use tocsin_domain::aqi::us_epa;

#[test]
fn spot_values_agree() {
    type Spot = (String, String, String, String, u32, String);
    let spots: Vec<Spot> =
        serde_json::from_str(include_str!("fixtures/aqi_expected.json")).unwrap();
    assert!(spots.len() > 100);
    for (measure, averaging, unit, value, aqi, band) in spots {
        let found = us_epa(&measure, &averaging, &unit, value.parse().unwrap()).unwrap();
        let found = (found.aqi, found.band.name);
        assert_eq!(found, (aqi, band.as_str()), "{measure} {averaging} {value} {unit}");
    }
}
