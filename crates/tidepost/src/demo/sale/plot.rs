//! The campaigns' windows as SVG: what each of them held, and the calls of the seconds around its opening.

use plotters::chart::SeriesLabelPosition;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::demo::sale::figures::{Figures, SECONDS_SHOWN};
use crate::demo::sale::print::shown;

const SIZE: (u32, u32) = (960, 720);
/// A colour for each campaign.
const CAMPAIGNS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115)];
/// A shade for each window.
const WINDOWS: [RGBColor; 3] = [RGBColor(60, 60, 60), RGBColor(125, 125, 125), RGBColor(185, 185, 185)];
const LIMIT: RGBColor = RGBColor(204, 51, 17);
/// How much of its place a bar takes.
const BAR_WIDTH: f64 = 0.6;
/// How much higher a chart is than its highest bar: the legend stands above.
const HEADROOM: f64 = 1.6;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// The picture; an error tells what the drawing library does not like.
///
/// # Errors
/// The library's words.
pub fn svg(figures: &Figures) -> Result<String, String> {
    let mut text = String::new();
    draw(figures, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw<'a>(figures: &Figures, text: &'a mut String) -> Drawn<'a> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(SIZE.1 / 2);
    windows(figures, &above)?;
    edges(figures, &below)?;
    root.present()
}

fn colour(of: &[RGBColor], position: usize) -> RGBColor {
    of.iter().cycle().nth(position).copied().unwrap_or(BLACK)
}

/// A bar for each window, of what people received of each campaign, under a line for the budget.
fn windows<'a>(figures: &Figures, area: &Area<'a>) -> Drawn<'a> {
    let most = figures.windows.iter().map(|window| window.budget.max(window.used)).max().unwrap_or(1);
    let places = figures.windows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("Messages in each window, as the platform saw them", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..places, 0.0..most as f64 * HEADROOM)?;
    let opening = |place: &f64| {
        let window = figures.windows.get(place.floor() as usize).filter(|_| (place.fract() - 0.5).abs() < 0.01);
        window.map(|window| format!("{}: {} of {}", shown(window.opens_at), window.used, window.budget))
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(figures.windows.len() * 2 + 1)
        .x_label_formatter(&|place| opening(place).unwrap_or_default())
        .y_desc("messages")
        .draw()?;
    for (position, campaign) in figures.campaigns.iter().enumerate() {
        let bars = figures.windows.iter().enumerate().map(|(place, window)| {
            let below: u64 = window.received.iter().take(position).sum();
            let own = window.received.get(position).copied().unwrap_or(0);
            bar(place, below as f64, (below + own) as f64, position)
        });
        chart.draw_series(bars)?.label(campaign.wanted.name).legend(move |at| sample(at, colour(&CAMPAIGNS, position)));
    }
    let limits = figures.windows.iter().enumerate().map(|(place, window)| {
        let (place, limit) = (place as f64, window.budget as f64);
        PathElement::new([(place, limit), (place + 1.0, limit)], LIMIT.stroke_width(2))
    });
    chart.draw_series(limits)?.label("budget").legend(|at| sample(at, LIMIT));
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()
}

fn bar(place: usize, from: f64, to: f64, position: usize) -> Rectangle<(f64, f64)> {
    let left = place as f64 + (1.0 - BAR_WIDTH) / 2.0;
    Rectangle::new([(left, from), (left + BAR_WIDTH, to)], colour(&CAMPAIGNS, position).filled())
}

/// What stands for a series in the legend.
fn sample((x, y): (i32, i32), colour: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled())
}

/// Calls of each second around the openings, beside each other.
fn edges<'a>(figures: &Figures, area: &Area<'a>) -> Drawn<'a> {
    let most = figures.windows.iter().flat_map(|window| &window.calls_by_second).max().copied().unwrap_or(0).max(1);
    let seconds = SECONDS_SHOWN.start as f64..SECONDS_SHOWN.end as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("Calls a second around the opening of each window", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(seconds, 0.0..most as f64 * HEADROOM)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("seconds after the opening")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_desc("calls")
        .draw()?;
    let width = 1.0 / figures.windows.len().max(1) as f64;
    for (position, window) in figures.windows.iter().enumerate() {
        let bars =
            SECONDS_SHOWN.zip(&window.calls_by_second).filter(|(_, calls)| **calls > 0).map(|(second, calls)| {
                let left = second as f64 + position as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, *calls as f64)], colour(&WINDOWS, position).filled())
            });
        let label = format!("window of {}", shown(window.opens_at));
        chart.draw_series(bars)?.label(label).legend(move |at| sample(at, colour(&WINDOWS, position)));
    }
    let edge = PathElement::new([(0.0, 0.0), (0.0, most as f64 * HEADROOM)], LIMIT.stroke_width(2));
    chart.draw_series([edge])?.label("opening").legend(|at| sample(at, LIMIT));
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sale::audience::CAMPAIGNS;
    use crate::demo::sale::figures::{Campaign, Window};

    #[test]
    fn the_picture_names_campaigns_and_windows() {
        let window = Window {
            opens_at: "2026-03-23T08:00:00+08:00".parse().unwrap(),
            budget: 250,
            used: 249,
            overshoot: 0,
            first_after_milliseconds: Some(3),
            calls_by_second: vec![10; 20],
            received: vec![100, 100, 49],
        };
        let campaign = |wanted| Campaign { wanted, meant: 300, received: 100, held_back: [].into() };
        let text = svg(&Figures { windows: vec![window], campaigns: CAMPAIGNS.map(campaign).into() }).unwrap();
        for word in ["<svg", "Spring tea", "Coffee week", "New cups", "budget", "03-23 08:00: 249 of 250", "</svg>"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}
