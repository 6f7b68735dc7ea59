using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class AttentionTests : LayerTests
{
    /// <summary>
    /// Hidden size, heads, dropout probability: all of them but on the simulator, which takes seconds for each; the emulator and OpenCL
    /// have them all.
    /// </summary>
    public static TheoryData<string, int, int, float> Heads
    {
        get
        {
            var data = new TheoryData<string, int, int, float>();
            foreach (object[] row in Backends.Times(
                (8, 1, 0f), (8, 2, 0.3f), (8, 4, 0f), (20, 1, 0.3f), (20, 4, 0f), (32, 2, 0.5f),
                (64, 2, 0.2f), (64, 4, 0f), (128, 2, 0f), (128, 4, 0.2f)))
            {
                if (row is not [GpuDevices.Simulator, 8, 1 or 4, _] and not [GpuDevices.Simulator, 64, 4, _]
                    and not [GpuDevices.Simulator, 128, 2, _])
                    data.Add((string)row[0], (int)row[1], (int)row[2], (float)row[3]);
            }
            return data;
        }
    }

    /// <summary>Keys and queries of each sequence.</summary>
    private static readonly (int[] Keys, int[] Queries)[] Batches =
    [
        ([1], [1]),
        ([5], [5]),
        ([3, 1, 2, 6], [3, 1, 2, 6]),
        ([3, 1, 4, 7], [1, 0, 2, 0]),
        ([1, 50, 17, 1, 37], [1, 11, 17, 0, 1]),
        ([130], [130]),
    ];

    [Theory]
    [MemberData(nameof(Heads))]
    public void Forward_and_backward_match_the_derivation(string backend, int hidden, int heads, float dropout)
    {
        foreach (var (keys, queries) in Batches)
            new Case(hidden, heads, dropout, keys, queries).Check(backend);
    }

    /// <summary>Whole sequences, and of some only the newest events ask; lengths of one tile or block and of several.</summary>
    private static readonly (int[] Keys, int[] Queries)[] CausalBatches =
    [
        ([1], [1]),
        ([3, 1, 2, 6], [3, 1, 2, 6]),
        ([3, 1, 4, 7], [1, 0, 2, 5]),
        ([1, 50, 17, 1, 37], [1, 50, 17, 0, 1]),
        ([50, 40], [20, 33]),
        ([130], [130]),
    ];

    [Theory]
    [MemberData(nameof(Heads))]
    public void Causal_attention_sees_no_newer_event(string backend, int hidden, int heads, float dropout)
    {
        foreach (var (keys, queries) in CausalBatches)
            new Case(hidden, heads, dropout, keys, queries, causal: true).Check(backend);
    }

    /// <summary>
    /// Heads whose columns fill no vector, or the largest tile; and tensors that lie where 128 bits can be loaded at once.
    /// </summary>
    public static TheoryData<string, int, int, float> OtherHeads => Backends.Times(
        (20, 2, 0.3f), (24, 2, 0.3f), (96, 1, 0f), (256, 2, 0.2f));

    [Theory]
    [MemberData(nameof(OtherHeads))]
    public void Any_head_and_any_alignment_will_do(string backend, int hidden, int heads, float dropout)
    {
        var c = new Case(hidden, heads, dropout, [1, 3, 40], [1, 0, 21]);
        var results = c.Run(backend);
        Numbers.Close("output", c.Forward(c.Q, c.Kv).Output, results["output"], 8e-7);
        c.CheckBackward(results);
        foreach (var (name, values) in c.Run(backend, offset: 8))
            Numbers.Close($"{name}, aligned", results[name].ToMatrix(1), values, 1e-6);
    }

    public static TheoryData<string> Gpus => [.. Backends.Gpus];

    [Theory]
    [MemberData(nameof(Gpus))]
    public void A_head_wider_than_a_tile_is_refused_in_a_sentence(string backend)
    {
        var c = new Case(256, 1, 0f, [2], [2]);
        Assert.StartsWith("a head has 256 columns", Assert.Throws<DeviceException>(() => c.Run(backend)).Message, StringComparison.Ordinal);
    }

    /// <summary>Scores of several hundred: exp must be taken from below its overflow, and the largest probability is 1.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Extreme_scores_do_not_overflow(string backend)
    {
        var c = new Case(32, 2, 0, [5, 50], [5, 20], scale: 15);
        var results = c.Run(backend);
        Assert.True(c.Forward(c.Q, c.Kv).LogSumExp.Enumerate().Max() > 500);
        Numbers.Close("output", c.Forward(c.Q, c.Kv).Output, results["output"], 3e-5);
        Numbers.Close("logSumExp", c.Forward(c.Q, c.Kv).LogSumExp, results["logSumExp"], 1e-6);
        Assert.All(results["dq"], value => Assert.True(float.IsFinite(value)));
        Assert.All(results["dkv"], value => Assert.True(float.IsFinite(value)));
    }

    /// <summary>Where nobody asks, gradients of keys and values are zero, not what the memory held before.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Keys_without_a_query_get_zero_gradient(string backend)
    {
        var dkv = Bench.On(backend, bench =>
        {
            Tensor q = bench.Garbage(0, 8), kv = bench.Tensor(new Random(1).Normal(5, 16)), logSumExp = bench.Garbage(0, 2);
            Indices queryOffsets = bench.Indices(0, 0, 0), keyOffsets = bench.Indices(0, 3, 5);
            var gradient = bench.Garbage(5, 16);
            bench.Kernels.AttentionForward(q, kv, new(queryOffsets, keyOffsets, 2, 3), default, q, logSumExp);
            bench.Kernels.AttentionBackward(q, q, kv, q, logSumExp, new(queryOffsets, keyOffsets, 2, 3), default, q, gradient);
            return gradient.ToArray();
        });
        Assert.All(dkv, value => Assert.Equal(0f, value));
    }

    /// <summary>A GPU lets several groups share a long sequence, unless there are sequences enough to fill it.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Bits_do_not_depend_on_the_other_sequences(string backend)
    {
        int[] lengths = [130, .. Enumerable.Repeat(1, 40)];
        foreach (bool causal in new[] { false, true })
        {
            var c = new Case(8, 2, 0.2f, lengths, lengths, causal: causal);
            var (among, alone) = (c.Run(backend), c.FirstSequence().Run(backend));
            foreach (var (name, values) in alone)
                Assert.Equal(among[name][..values.Length], values);
        }
    }

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) =>
        new Case(20, 4, 0.3f, [1, 50, 17, 1, 37], [1, 11, 17, 0, 1]).Run(backend);

    private sealed class Case
    {
        public readonly Matrix<double> Q;
        public readonly Matrix<double> Kv;
        public readonly Matrix<double> DOutput;
        private readonly int[] _keyOffsets;
        private readonly int[] _queryOffsets;
        private readonly int _heads;
        private readonly DropoutMask _dropout;
        private readonly bool _causal;

        public Case(int hidden, int heads, float dropout, int[] keys, int[] queries, double scale = 1, bool causal = false)
        {
            _causal = causal;
            var random = new Random(hidden + heads + keys.Sum());
            _heads = heads;
            _dropout = dropout == 0 ? default : new DropoutMask(dropout, new RandomKey(42, 3, 2000, 77));
            _keyOffsets = Numbers.Offsets(keys);
            _queryOffsets = Numbers.Offsets(queries);
            Q = random.Normal(_queryOffsets[^1], hidden, scale);
            Kv = random.Normal(_keyOffsets[^1], 2 * hidden, scale);
            DOutput = random.Normal(_queryOffsets[^1], hidden);
        }

        private Case(Case other, int queries, int keys)
        {
            _causal = other._causal;
            _heads = other._heads;
            _dropout = other._dropout;
            _keyOffsets = [0, keys];
            _queryOffsets = [0, queries];
            Q = other.Q.SubMatrix(0, queries, 0, other.Q.ColumnCount);
            Kv = other.Kv.SubMatrix(0, keys, 0, other.Kv.ColumnCount);
            DOutput = other.DOutput.SubMatrix(0, queries, 0, other.DOutput.ColumnCount);
        }

        public Case FirstSequence() => new(this, _queryOffsets[1], _keyOffsets[1]);

        public (Matrix<double> Output, Matrix<double> LogSumExp) Forward(Matrix<double> q, Matrix<double> kv) =>
            Attention.Forward(q, kv, _queryOffsets, _keyOffsets, _heads, _dropout, _causal);

        public void Check(string backend)
        {
            var results = Run(backend);
            var (output, logSumExp) = Forward(Q, Kv);
            Numbers.Close($"output of {this}", output, results["output"], 8e-7);
            double scale = logSumExp.Norm() + Math.Sqrt(results["logSumExp"].Length);
            Numbers.Close($"logSumExp of {this}", logSumExp, results["logSumExp"], 4e-7, scale);
            CheckBackward(results);
        }

        /// <summary>
        /// The score of a one-event sequence has no say: its dq is zero but for the rounding of terms as large as dOutput.
        /// </summary>
        public void CheckBackward(Dictionary<string, float[]> results)
        {
            var (output, logSumExp) = Forward(Q, Kv);
            var (dq, dkv) = Attention.Backward(
                DOutput, Q, Kv, output, logSumExp, _queryOffsets, _keyOffsets, _heads, _dropout, _causal);
            Numbers.Close($"dq of {this}", dq, results["dq"], 1e-6, Math.Max(dq.Norm(), DOutput.Norm()));
            Numbers.Close($"dkv of {this}", dkv, results["dkv"], 1e-6);
        }

        public Dictionary<string, float[]> Run(string backend, int offset = 7) => Bench.On(backend, Run, offset);

        private Dictionary<string, float[]> Run(Bench bench)
        {
            int queries = Q.RowCount, hidden = Q.ColumnCount;
            int maximumLength = _keyOffsets.Zip(_keyOffsets.Skip(1), (start, end) => end - start).Max();
            Tensor q = bench.Tensor(Q), kv = bench.Tensor(Kv);
            Indices queryOffsets = bench.Indices(_queryOffsets), keyOffsets = bench.Indices(_keyOffsets);
            Tensor output = bench.Garbage(queries, hidden), logSumExp = bench.Garbage(queries, _heads);
            Tensor dq = bench.Garbage(queries, hidden), dkv = bench.Garbage(Kv.RowCount, 2 * hidden);
            var layout = new AttentionLayout(queryOffsets, keyOffsets, _heads, maximumLength, _causal);
            bench.Kernels.AttentionForward(q, kv, layout, _dropout, output, logSumExp);
            bench.Kernels.AttentionBackward(bench.Tensor(DOutput), q, kv, output, logSumExp, layout, _dropout, dq, dkv);
            return Results.Of(("output", output), ("logSumExp", logSumExp), ("dq", dq), ("dkv", dkv));
        }

        public override string ToString() =>
            $"[{Q.ColumnCount}, {_heads}, {_dropout.Probability}{(_causal ? ", causal" : "")}], " +
            $"keys {string.Join(' ', _keyOffsets)}, queries {string.Join(' ', _queryOffsets)}";
    }
}
