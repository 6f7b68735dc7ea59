using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Kernels;

namespace Bert4Rec.Tests.Model;

/// <summary>
/// Loss, gradients, Adam steps and scores against RecBole's own: of its BERT4Rec from every file recbole-step*.safetensors, of its SASRec
/// from every sasrec-step*.safetensors. Sizes come from the files.
/// </summary>
public class RecboleStepTests
{
    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (string file in TestFiles.Fixtures("recbole-step*.safetensors").Concat(TestFiles.Fixtures("sasrec-step*.safetensors")))
        {
            foreach (string backend in Backends.Names)
                cases.Add(file, backend);
        }
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_step_is_RecBoles(string file, string backend)
    {
        using var kernels = Backends.Create(backend);
        using var step = new RecboleStep(file, kernels);

        double[] losses = new double[step.Steps];
        losses[0] = step.LossAndBackward();
        step.CheckOutput(1e-5);
        step.CheckGradients(TestFiles.IsOwnFixture(file) ? 1e-5 : 5e-5);
        step.Adam(1);
        step.CheckParameters("after1", 1e-3);
        for (int i = 1; i < step.Steps; i++)
        {
            losses[i] = step.LossAndBackward();
            step.Adam(i + 1);
        }
        step.CheckParameters($"after{step.Steps}", 1e-3);
        step.CheckLosses(losses, 2e-6);
        // Errors of steps grow with ill-conditioned weights: there the scores are asked of RecBole's.
        if (!TestFiles.IsOwnFixture(file))
            step.TakeParameters($"after{step.Steps}");
        step.CheckScores(1e-4);
    }

    private sealed class RecboleStep : IDisposable
    {
        private readonly SafeTensorsFile _file;
        private readonly KernelSet _kernels;
        private readonly ParameterLayout _layout;
        private readonly DeviceBuffer<float> _parameters;
        private readonly DeviceBuffer<float> _gradients;
        private readonly DeviceBuffer<float> _firstMoments;
        private readonly DeviceBuffer<float> _secondMoments;
        private readonly DeviceBuffer<float> _loss;
        private readonly Bert4RecModel _model;
        private readonly ModelInput _input;
        private readonly Indices _targets;
        private readonly int[] _packed;
        private readonly int _length;
        private readonly bool _isSasRec;

        public RecboleStep(string file, KernelSet kernels)
        {
            _file = SafeTensors.Read(file);
            _kernels = kernels;
            _length = Size("max_seq_length");
            _isSasRec = _file.Metadata.GetValueOrDefault("model") == "SASRec";
            var shape = new ModelShape(
                Size("n_items"),
                _length,
                Size("hidden_size"),
                Size("inner_size"),
                Size("n_layers"),
                Size("n_heads"),
                float.Parse(_file.Metadata["layer_norm_eps"]),
                HiddenDropout: 0,
                AttentionDropout: 0,
                Causal: _isSasRec,
                OutputHead: !_isSasRec);
            _layout = new ParameterLayout(shape);
            (_parameters, _gradients) = (kernels.AllocateFloats(_layout.Length), kernels.AllocateFloats(_layout.Length));
            (_firstMoments, _secondMoments) = (kernels.AllocateFloats(_layout.Length), kernels.AllocateFloats(_layout.Length));
            _loss = kernels.AllocateFloats(1);
            foreach (var entry in _layout.Entries)
                _parameters.Upload(_file.ReadFloats($"param.{entry.Name}"), entry.Offset);
            _model = new Bert4RecModel(kernels, _layout, _parameters, _gradients, Size("batch") * _length);

            // Packed without padding. SASRec is asked after the last event of each sequence; of BERT4Rec, a masked index of 0 is padding,
            // or a mask that RecBole drops.
            int[] tokens = _file.ReadInts(_isSasRec ? "input.item_seq" : "input.masked_item_seq");
            int[] lengths = _file.ReadInts("input.item_seq_len");
            int[] asked = _isSasRec ? [.. lengths.Select(length => length - 1)] : _file.ReadInts("input.masked_index");
            int[] positives = _file.ReadInts("input.pos_items");
            int perSequence = asked.Length / lengths.Length;
            List<int> packed = [], positions = [], offsets = [0], rows = [], targets = [], queryOffsets = [0], places = [];
            for (int b = 0; b < lengths.Length; b++)
            {
                for (int p = 0; p < lengths[b]; p++)
                {
                    packed.Add(tokens[(b * _length) + p]);
                    positions.Add(p);
                    places.Add((b * _length) + p);
                }
                for (int m = b * perSequence; m < (b + 1) * perSequence; m++)
                {
                    if (asked[m] == 0 && !_isSasRec)
                        continue;
                    rows.Add(offsets[b] + asked[m]);
                    targets.Add(positives[m]);
                }
                offsets.Add(packed.Count);
                queryOffsets.Add(rows.Count);
            }
            _packed = [.. places];
            _input = new(Upload(packed), Upload(positions), Upload(offsets), Upload(rows), Upload(queryOffsets));
            _targets = Upload(targets);
        }

        public int Steps => Size("steps");

        public double LossAndBackward()
        {
            _loss.Upload([0]);
            _model.Forward(_input, default);
            _model.LossAndBackward(_targets, 1f / _targets.Length, Tensor.Of(_loss));
            return Tensor.Of(_loss).ToArray()[0] / _targets.Length;
        }

        public void Adam(int step) => _kernels.Adam(
            Tensor.Of(_parameters), Tensor.Of(_gradients), Tensor.Of(_firstMoments), Tensor.Of(_secondMoments), default,
            new AdamStep(
                step,
                float.Parse(_file.Metadata["learning_rate"]),
                WeightDecay: float.Parse(_file.Metadata.GetValueOrDefault("weight_decay", "0")),
                DecoupledDecay: _file.Metadata.GetValueOrDefault("learner") == "adamw"));

        public void CheckOutput(double bound)
        {
            if (_isSasRec)
            {
                AssertClose("output at the last events", _file.ReadFloats("forward.seq_output"), _model.Predict(_input).ToArray(), bound);
                return;
            }
            // RecBole's forward ends with the head.
            float[] actual = _model.Predict(_input with { QueryRows = default, QueryOffsets = default }).ToArray();
            float[] expected = _file.ReadFloats("forward.encoder_output");
            int h = Size("hidden_size");
            float[] packed = [.. _packed.SelectMany(place => expected.Skip(place * h).Take(h))];
            AssertClose("encoder output", packed, actual, bound);
        }

        public void CheckGradients(double bound)
        {
            foreach (var entry in _layout.Entries)
            {
                float[] expected = _file.ReadFloats($"grad.{entry.Name}");
                double error = Distance(expected, Read(_gradients, entry)), allowed = (bound * Length(expected)) + Rounding(entry);
                Assert.True(error <= allowed, $"gradient of {entry.Name}: off by {error:E2} of {Length(expected):E2}");
            }
        }

        /// <summary>
        /// Within a share of the distance that RecBole's steps moved the tensor. Adam's first step is as long for a gradient that is
        /// rounding as for any other: such elements may go either way. They are left out, and take RecBole's values for the steps that
        /// follow.
        /// </summary>
        public void CheckParameters(string after, double bound)
        {
            foreach (var entry in _layout.Entries.Where(entry => !IsKeyBias(entry)))
            {
                float[] start = _file.ReadFloats($"param.{entry.Name}"), expected = _file.ReadFloats($"{after}.{entry.Name}");
                float[] gradient = _file.ReadFloats($"grad.{entry.Name}"), actual = Read(_parameters, entry);
                double least = ((1e-4 * Length(gradient)) + Rounding(entry)) / Math.Sqrt(gradient.Length);
                foreach (var (i, value) in gradient.Index())
                {
                    if (Math.Abs(value) < least)
                        actual[i] = expected[i];
                }
                _parameters.Upload(actual, entry.Offset);
                double error = Distance(expected, actual), moved = Distance(start, expected);
                double allowed = (bound * moved) + (6e-8 * Math.Sqrt(Steps) * Length(start));
                Assert.True(error <= allowed, $"{after}.{entry.Name}: off by {error:E2} of {moved:E2} moved");
            }
        }

        /// <summary>Within a share of the first loss: a later one may be next to nothing.</summary>
        public void CheckLosses(double[] losses, double bound)
        {
            float[] expected = _file.ReadFloats("losses");
            for (int i = 0; i < losses.Length; i++)
            {
                double allowed = (i == 0 ? bound : 5 * bound) * expected[0];
                Assert.True(
                    Math.Abs(losses[i] - expected[i]) <= allowed, $"loss of step {i + 1}: {losses[i]:R}, RecBole {expected[i]:R}");
            }
        }

        public void TakeParameters(string after)
        {
            foreach (var entry in _layout.Entries)
                _parameters.Upload(_file.ReadFloats($"{after}.{entry.Name}"), entry.Offset);
        }

        public void CheckScores(double bound)
        {
            int[] sequences = _file.ReadInts("input.item_seq"), lengths = _file.ReadInts("input.item_seq_len");
            float[] expected = _file.ReadFloats($"eval.scores_after{Steps}");
            int items = Size("n_items");
            using var batch = new SequenceBatch(_kernels, lengths.Length * _length);
            foreach (var (b, length) in lengths.Index())
            {
                if (_isSasRec)
                    batch.Add(sequences.AsSpan(b * _length, length));
                else
                    batch.Add(sequences.AsSpan((b * _length) + 1, length - 1), items);
            }
            batch.Upload();
            Indices last = Upload([.. Enumerable.Range(0, lengths.Length).Select(batch.LastRow)]);
            Indices each = Upload([.. Enumerable.Range(0, lengths.Length + 1)]);
            var h = _model.Predict(new(batch.Tokens, batch.Positions, batch.Offsets, last, each));
            var scores = new Tensor(_kernels.AllocateFloats(expected.Length), 0, lengths.Length, items);
            Indices all = Upload([.. Enumerable.Repeat(Enumerable.Range(0, items), lengths.Length).SelectMany(ids => ids)]);
            _kernels.ScoreItems(h, _model.Catalogue, all, scores);
            float[] actual = scores.ToArray();
            double allowed = bound * Math.Max(1, expected.Where(score => score > -1e30f).Max(Math.Abs));
            for (int i = 0; i < expected.Length; i++)
            {
                // Padding is never recommended: an evaluator has given it the lowest score there is.
                if (i % items == 0 && expected[i] < -1e30)
                    continue;
                Assert.True(
                    Math.Abs(expected[i] - actual[i]) <= allowed, $"score {i / items}, {i % items}: {actual[i]}, RecBole {expected[i]}");
            }
        }

        public void Dispose()
        {
            _model.Dispose();
            _file.Dispose();
        }

        /// <summary>
        /// The norm that rounding may give the gradient of what softmax ignores: the keys' bias always, queries and keys where no sequence
        /// has more than one event. It is that of the layer's values that rounds.
        /// </summary>
        private double Rounding(ParameterEntry entry)
        {
            string value = entry.Name.Replace(".query.", ".value.").Replace(".key.", ".value.");
            return value == entry.Name ? 0 : (IsKeyBias(entry) ? 1e-5 : 1e-6) * Length(_file.ReadFloats($"grad.{value}"));
        }

        private static bool IsKeyBias(ParameterEntry entry) => entry.Name.EndsWith("key.bias", StringComparison.Ordinal);

        private static void AssertClose(string what, float[] expected, float[] actual, double bound)
        {
            double error = Distance(expected, actual) / Length(expected);
            Assert.True(error <= bound, $"{what}: relative error {error:E2}");
        }

        private static double Length(float[] a) => Math.Sqrt(a.Sum(x => (double)x * x));

        private static double Distance(float[] a, float[] b) => Math.Sqrt(a.Zip(b, (x, y) => ((double)x - y) * ((double)x - y)).Sum());

        private static float[] Read(DeviceBuffer<float> buffer, ParameterEntry entry)
        {
            var values = new float[entry.Length];
            buffer.Download(values, entry.Offset);
            return values;
        }

        private int Size(string key) => int.Parse(_file.Metadata[key]);

        private Indices Upload(List<int> values)
        {
            var indices = Indices.Of(_kernels.AllocateInts(values.Count));
            indices.Upload(values.ToArray());
            return indices;
        }
    }
}
