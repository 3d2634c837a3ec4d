//! The charts in the README, as SVG.

use crate::{
    readme::{bytes, title},
    results::{Figures, Payload, Results},
};
use anyhow::anyhow;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::path::Path;

/// Returns the colour of a worker, by its name in the results.
fn colour(worker: &str) -> RGBColor {
    match worker {
        "rust" => RGBColor(0xce, 0x42, 0x2b),
        "rust --threads 1" => RGBColor(0xe0, 0x8e, 0x7c),
        "go" => RGBColor(0x00, 0xad, 0xd8),
        "java" => RGBColor(0xe6, 0xa0, 0x1a),
        "python" => RGBColor(0x37, 0x76, 0xab),
        "typescript" => RGBColor(0x84, 0x8d, 0x97),
        _ => BLACK,
    }
}

/// Draws the charts into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub fn draw(results: &Results, folder: &Path) -> anyhow::Result<()> {
    workers(results, &folder.join("workers.svg")).map_err(|error| anyhow!("{error}"))?;
    payloads(&results.payloads, &folder.join("payloads.svg")).map_err(|error| anyhow!("{error}"))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws bars that show how many times as much as the Rust worker each worker needs.
fn workers(results: &Results, file: &Path) -> Drawn {
    let Some(ours) = results.workers.first() else {
        return Ok(());
    };
    let mut bars = Vec::new();
    for (figure, name) in ["CPU time", "memory", "p50 latency"].iter().enumerate() {
        for setting in &results.workers {
            let of = |figures: &Figures| match figure {
                0 => figures.cpu_ms,
                1 => figures.rss_mib,
                _ => figures.p50_ms.unwrap_or(f64::NAN),
            };
            let times = of(&setting.figures) / of(&ours.figures);
            bars.push((*name, &setting.name, times));
        }
    }
    let most = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    // One empty row between figures.
    let workers = results.workers.len();
    let rows = bars.len() + bars.len() / workers - 1;

    let root = SVGBackend::new(file, (720, 40 + 20 * u32::try_from(rows)?)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("times what the Rust worker needs", ("sans-serif", 16))
        .margin(8)
        .build_cartesian_2d(-most * 0.4..most * 1.1, rows as f64..0.0)?;
    let middle = Pos::new(HPos::Left, VPos::Center);
    let font = ("sans-serif", 13).into_text_style(&root).pos(middle);
    for (bar, (name, worker, times)) in bars.iter().enumerate() {
        let top = (bar + bar / workers) as f64;
        let label = format!("{name}, {}", title(worker));
        let (left, right) = (-most * 0.39, times + most * 0.01);
        chart.draw_series([Rectangle::new(
            [(0.0, top + 0.1), (*times, top + 0.9)],
            colour(worker).filled(),
        )])?;
        chart.draw_series([
            Text::new(label, (left, top + 0.5), font.clone()),
            Text::new(format!("{times:.1}"), (right, top + 0.5), font.clone()),
        ])?;
    }
    root.present()?;
    Ok(())
}

/// Draws lines that show the CPU time per workflow, relative to the Rust worker with the smallest payload.
fn payloads(rows: &[Payload], file: &Path) -> Drawn {
    let Some((first, base)) = rows
        .first()
        .and_then(|row| Some((row, *row.cpu_ms.first()?)))
    else {
        return Ok(());
    };
    let all = rows.iter().flat_map(|row| &row.cpu_ms);
    let most = all.map(|cpu| cpu / base).fold(1.0, f64::max);
    let last = first.bytes.len().saturating_sub(1);

    let root = SVGBackend::new(file, (720, 360)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "CPU time of a workflow, times the Rust worker's with the smallest payload",
            ("sans-serif", 16),
        )
        .margin(8)
        .margin_right(24)
        .x_label_area_size(28)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..last as f64, (0.5..most * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(last + 1)
        .x_label_formatter(&|x| {
            let size = first.bytes.get(x.round() as usize);
            size.map(|size| bytes(*size)).unwrap_or_default()
        })
        .draw()?;
    for row in rows {
        let colour = colour(&row.worker);
        let points = row.cpu_ms.iter().enumerate();
        let points: Vec<_> = points.map(|(x, cpu)| (x as f64, cpu / base)).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(title(&row.worker))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        readme::OTHERS,
        testing::{Folder, results},
    };
    use std::collections::BTreeSet;

    /// Both charts show every measured worker in a colour of its own.
    #[test]
    fn charts_show_all_workers() -> anyhow::Result<()> {
        let mut names = vec!["rust"];
        names.extend(OTHERS.map(|(name, _)| name));
        names.push("rust --threads 1");
        let folder = Folder::new()?;
        draw(&results(&names), folder.path())?;
        let workers = std::fs::read_to_string(folder.path().join("workers.svg"))?;
        let payloads = std::fs::read_to_string(folder.path().join("payloads.svg"))?;
        let mut colours = BTreeSet::new();
        for name in &names {
            let RGBColor(red, green, blue) = colour(name);
            let colour = format!("#{red:02X}{green:02X}{blue:02X}");
            let label = format!("\nCPU time, {}\n", title(name));
            assert!(workers.contains(&label), "{name}");
            assert!(workers.contains(&colour), "{name}");
            if *name != "rust --threads 1" {
                assert!(payloads.contains(&format!("\n{}\n", title(name))), "{name}");
                assert!(payloads.contains(&colour), "{name}");
            }
            colours.insert(colour);
        }
        assert_eq!(colours.len(), names.len(), "{colours:?}");
        assert!(!colours.contains("#000000"));
        Ok(())
    }
}
