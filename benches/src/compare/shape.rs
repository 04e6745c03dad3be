//! The marks of the models. Each has a shape of its own, so that a reader need not tell colours
//! apart.

use super::model::Model;

/// From the middle of a round mark to its edge.
const RADIUS: f64 = 4.0;

/// The outline of a model's mark around a place, as an SVG path.
#[must_use]
pub fn shape(model: Model, x: f64, y: f64) -> String {
    let corners = corners(model);
    if corners.is_empty() {
        let (left, width) = (x - RADIUS, 2.0 * RADIUS);
        let half = format!("a{RADIUS} {RADIUS} 0 0 1");
        return format!("M{left:.1} {y:.1}{half} {width} 0{half} -{width} 0z");
    }
    let place =
        |(right, down): &(f64, f64)| format!("{:.1} {:.1}", x + right * RADIUS, y + down * RADIUS);
    let places: Vec<String> = corners.iter().map(place).collect();
    format!("M{}z", places.join("L"))
}

/// To the right and down from the middle, in radii; none of a circle.
fn corners(model: Model) -> &'static [(f64, f64)] {
    match model {
        Model::Reactor => &[],
        // A square.
        Model::Fork => &[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
        // A square on its corner.
        Model::Thread => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        // Triangles, one upside down.
        Model::Mio => &[(0.0, -1.2), (1.2, 1.0), (-1.2, 1.0)],
        Model::Tokio => &[(0.0, 1.2), (1.2, -1.0), (-1.2, -1.0)],
        // A plus sign.
        Model::Raw => &[
            (-0.4, -1.3),
            (0.4, -1.3),
            (0.4, -0.4),
            (1.3, -0.4),
            (1.3, 0.4),
            (0.4, 0.4),
            (0.4, 1.3),
            (-0.4, 1.3),
            (-0.4, 0.4),
            (-1.3, 0.4),
            (-1.3, -0.4),
            (-0.4, -0.4),
        ],
        // A third triangle, which points ahead.
        Model::Uring => &[(1.3, 0.0), (-1.0, 1.2), (-1.0, -1.2)],
        // A star.
        Model::Libuv => &[
            (0.0, -1.6),
            (0.5, -0.5),
            (1.6, 0.0),
            (0.5, 0.5),
            (0.0, 1.6),
            (-0.5, 0.5),
            (-1.6, 0.0),
            (-0.5, -0.5),
        ],
        // A bow tie, lying and upright.
        Model::Libev => &[(-1.3, -1.2), (1.3, 1.2), (1.3, -1.2), (-1.3, 1.2)],
        Model::Libevent => &[(-1.2, -1.3), (1.2, -1.3), (-1.2, 1.3), (1.2, 1.3)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_models_have_the_same_mark() {
        let mut shapes = Model::ALL.map(|model| shape(model, 0.0, 0.0));
        shapes.sort_unstable();
        assert!(shapes.windows(2).all(|two| two[0] != two[1]), "{shapes:?}");
    }
}
