//! `avg` of DOUBLE for many groups: a group without values has none when its states are merged, either.
//!
//! DataFusion's counts a state whose count is 0 as a value, which makes 0.0 / 0.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::nullif;
use arrow::datatypes::*;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::sum::{each, hide_filtered};

/// The count and the sum of each group; a state's columns are these, as DataFusion has them.
#[derive(Debug, Default)]
pub struct DoubleAverages {
    counts: Vec<u64>,
    sums: Vec<f64>,
}

impl DoubleAverages {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        self.sums.resize(groups, 0.0);
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<u64>, Vec<f64>) {
        (emit_to.take_needed(&mut self.counts), emit_to.take_needed(&mut self.sums))
    }
}

impl GroupsAccumulator for DoubleAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.resize(total_num_groups);
        each(values[0].as_primitive::<Float64Type>(), group_indices, opt_filter, |group, value| {
            self.counts[group] += 1;
            self.sums[group] += value;
            Ok(())
        })?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (counts, sums) = self.take(emit_to);
        let average = |(count, sum): (u64, f64)| (count > 0).then(|| sum / count as f64);
        Ok(Arc::new(counts.into_iter().zip(sums).map(average).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (counts, sums) = self.take(emit_to);
        let is_empty = counts.iter().map(|count| Some(*count == 0)).collect::<BooleanArray>();
        let sums: ArrayRef = Arc::new(Float64Array::from(sums));
        Ok(vec![Arc::new(UInt64Array::from(counts)), nullif(&sums, &is_empty)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.resize(total_num_groups);
        each(values[0].as_primitive::<UInt64Type>(), group_indices, None, |group, count| {
            self.counts[group] += count;
            Ok(())
        })?;
        each(values[1].as_primitive::<Float64Type>(), group_indices, None, |group, sum| {
            self.sums[group] += sum;
            Ok(())
        })?;
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let sums = hide_filtered(&values[0], opt_filter)?;
        let counts = (0..sums.len()).map(|i| Some(u64::from(sums.is_valid(i)))).collect::<UInt64Array>();
        Ok(vec![Arc::new(counts), sums])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u64>() + self.sums.capacity() * size_of::<f64>()
    }
}
