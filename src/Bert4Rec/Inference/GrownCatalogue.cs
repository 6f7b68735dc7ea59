using Bert4Rec.Data;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>
/// A trained model's parameters for a catalogue that has grown. A new item begins as the mean of the known items that stood beside it in
/// training histories, and of those that are most like it by their fields, or of all, which count as three events.
/// </summary>
internal static class GrownCatalogue
{
    /// <summary>Places before and behind an event that count as beside it.</summary>
    private const int Window = 3;

    /// <summary>Events that what the fields say counts as much as.</summary>
    private const int FieldWeight = 3;

    /// <summary>Known items that must share a value for it to say something.</summary>
    private const int SmallestGroup = 5;

    /// <param name="old">The layout of the parameters.</param>
    /// <param name="parameters">[old.Length]</param>
    /// <param name="grown">The same for more items.</param>
    /// <param name="dataset">All events, and the fields of all items; the first ids are those of the old catalogue.</param>
    /// <param name="train">The histories that count: what is measured on others must not know them.</param>
    /// <returns>[grown.Length]</returns>
    public static float[] Grow(
        ParameterLayout old, ReadOnlySpan<float> parameters, ParameterLayout grown, InteractionDataset dataset, TrainingSamples train)
    {
        var result = new float[grown.Length];
        int known = old.Shape.ItemCount;
        foreach (var entry in old.Entries)
        {
            var values = parameters[entry.Range];
            bool isOfItems = entry.Name is "item_embedding.weight" or "output_bias";
            int width = entry.Shape.Length == 1 ? 1 : entry.Shape[^1];
            long place = grown[entry.Name].Offset;
            (isOfItems ? values[..(known * width)] : values).CopyTo(result.AsSpan((int)place));
            // [mask] stays behind all items.
            if (isOfItems && values.Length > known * width)
                values[(known * width)..].CopyTo(result.AsSpan((int)place + (grown.Shape.ItemCount * width)));
        }
        if (grown.Shape.ItemCount == known)
            return result;
        var likeness = new ItemLikeness(dataset, train, known);
        Fill("item_embedding.weight");
        if (grown.Contains("output_bias"))
            Fill("output_bias");
        return result;

        void Fill(string name)
        {
            var entry = grown[name];
            int width = entry.Shape.Length == 1 ? 1 : entry.Shape[^1];
            var rows = result.AsSpan((int)entry.Offset, grown.Shape.ItemCount * width);
            var means = new Dictionary<int[], float[]>();
            for (int item = known; item < grown.Shape.ItemCount; item++)
                likeness.Mean(item, rows, width, means, rows.Slice(item * width, width));
        }
    }

    /// <summary>Which known items a new one is likely to resemble.</summary>
    private sealed class ItemLikeness
    {
        private readonly int _known;
        private readonly InteractionDataset _dataset;

        /// <summary>[new items] the known items beside each of its events.</summary>
        private readonly List<int>[] _beside;

        /// <summary>[field] value → the known items that have it.</summary>
        private readonly Dictionary<string, int[]>[] _groups;
        private readonly int[] _all;

        public ItemLikeness(InteractionDataset dataset, TrainingSamples train, int known)
        {
            _known = known;
            _dataset = dataset;
            _all = [.. Enumerable.Range(1, known - 1)];
            _beside = [.. Enumerable.Range(known, dataset.ItemCount - known).Select(_ => new List<int>())];
            foreach (var run in train.Runs)
            {
                var events = dataset.EventItems.AsSpan(dataset.UserOffsets[run.User]..run.End);
                for (int i = 0; i < events.Length; i++)
                {
                    if (events[i] < known)
                        continue;
                    for (int j = Math.Max(0, i - Window); j < Math.Min(events.Length, i + Window + 1); j++)
                    {
                        if (events[j] < known)
                            _beside[events[i] - known].Add(events[j]);
                    }
                }
            }
            _groups =
            [
                .. Enumerable.Range(0, dataset.ItemFields?.Fields.Count ?? 0).Select(field => _all
                    .Where(item => dataset.ItemFields![item, field] is not null)
                    .GroupBy(item => dataset.ItemFields![item, field]!)
                    .ToDictionary(group => group.Key, group => group.ToArray())),
            ];
        }

        /// <param name="item">A new one.</param>
        /// <param name="rows">[items · width]</param>
        /// <param name="width">Values of a row.</param>
        /// <param name="means">Those of groups, as far as they were wanted before.</param>
        /// <param name="mean">[width] The row for the item.</param>
        public void Mean(int item, ReadOnlySpan<float> rows, int width, Dictionary<int[], float[]> means, Span<float> mean)
        {
            var beside = _beside[item - _known];
            var alike = GroupMean(Group(item), rows, width, means);
            for (int i = 0; i < width; i++)
            {
                double sum = FieldWeight * alike[i];
                foreach (int other in beside)
                    sum += rows[(other * width) + i];
                mean[i] = (float)(sum / (beside.Count + FieldWeight));
            }
        }

        /// <summary>The smallest group of known items, large enough to say something, with a field's value of an item.</summary>
        private int[] Group(int item)
        {
            int[] smallest = _all;
            for (int field = 0; field < _groups.Length; field++)
            {
                if (_dataset.ItemFields![item, field] is string value
                    && _groups[field].TryGetValue(value, out var group)
                    && group.Length >= SmallestGroup
                    && group.Length < smallest.Length)
                    smallest = group;
            }
            return smallest;
        }

        private static float[] GroupMean(int[] group, ReadOnlySpan<float> rows, int width, Dictionary<int[], float[]> means)
        {
            if (means.TryGetValue(group, out float[]? mean))
                return mean;
            mean = new float[width];
            foreach (int item in group)
            {
                for (int i = 0; i < width; i++)
                    mean[i] += rows[(item * width) + i] / group.Length;
            }
            means.Add(group, mean);
            return mean;
        }
    }
}
