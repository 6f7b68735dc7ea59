using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Evaluation;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using Bert4Rec.Tests.Evaluation;
using Bert4Rec.Tests.Kernels;
using Bert4Rec.Training;
using MathNet.Numerics.LinearAlgebra;
using Adam = Bert4Rec.Kernels.Reference.Adam;
using ClozeMask = Bert4Rec.Kernels.Reference.ClozeMask;

namespace Bert4Rec.Tests.Training;

/// <summary>
/// Optimiser steps: their losses against the double-precision model on the masks that the mode asks for, what clipping and weight decay do
/// to the gradient, and that threads, replays and memory behave.
/// </summary>
public class TrainerTests
{
    private static readonly InteractionDataset Dataset = SmallDatasets.Random(seed: 4, users: 40, itemCount: 30, longest: 15);
    private static readonly DatasetSplit Split = SmallDatasets.LeaveOneOut(Dataset);

    internal static readonly TrainerSettings Settings = new(
        new ModelShape(
            Dataset.ItemCount, MaximumLength: 8, HiddenSize: 16, InnerSize: 24, Layers: 2, Heads: 2, LayerNormEpsilon: 1e-12f,
            HiddenDropout: 0.2f, AttentionDropout: 0.1f),
        Seed: 21,
        BatchSize: 16,
        LearningRate: 3e-3f,
        WeightDecay: 0,
        ClipGradNorm: null,
        InitializerRange: 0.1,
        MaskRatio: 0.3,
        LastOnlyShare: 0.4f,
        RecboleCompatible: false,
        Initializer: Initializer.Normal,
        Beta1: 0.9f,
        Beta2: 0.999f,
        DecoupledDecay: false,
        Rates: default,
        SoftmaxSamples: null);

    /// <summary>A trainer on its own threads.</summary>
    internal sealed class Run : IDisposable
    {
        private readonly DeviceSet _device;

        public Run(TrainerSettings settings, int threads, string device = "cpu", ProcessGroup? ranks = null)
        {
            _device = new DeviceSet(device, threads);
            var sequences = settings.RecboleCompatible
                ? TrainingSequences.Prefixes(Dataset, Split, settings.Shape.MaximumLength)
                : settings.Shape.Causal
                ? TrainingSequences.NextItemWindows(Dataset, Split, settings.Shape.MaximumLength, (int)settings.Seed)
                : TrainingSequences.Windows(Dataset, Split, settings.Shape.MaximumLength, (int)settings.Seed);
            Trainer = new Trainer(
                settings,
                Dataset,
                sequences,
                _device.Kernels,
                _device.Workers,
                TrainingStatistics.Count(Dataset, Split.Train).EventCounts,
                ranks);
            Trainer.BeginEpoch(1);
        }

        public Trainer Trainer { get; }

        public IReadOnlyList<KernelSet> Kernels => _device.Kernels;

        public Workers Workers => _device.Workers;

        public int[][] Sequences(int first, int count) =>
            [.. Trainer.EpochSequences.Skip(first).Take(count).Select(span => Dataset.EventItems[span.Start..(span.Start + span.Length)])];

        public float[] Parameters => Tensor.Of(Trainer.Parameters).ToArray();

        public float[] FirstMoments => Tensor.Of(Trainer.Optimizer.FirstMoments).ToArray();

        public float[] SecondMoments => Tensor.Of(Trainer.Optimizer.SecondMoments).ToArray();

        public void Dispose()
        {
            Trainer.Dispose();
            _device.Dispose();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void The_same_run_gives_the_same_bits(int threads)
    {
        var runs = Enumerable.Range(0, 2).Select(_ =>
        {
            using var run = new Run(Settings, threads);
            double[] losses = [run.Trainer.TrainEpoch(1, null, default).Loss, run.Trainer.TrainEpoch(2, null, default).Loss];
            return (losses, Bits: Array.ConvertAll(run.Parameters, BitConverter.SingleToInt32Bits));
        }).ToArray();

        Assert.Equal(runs[0].losses, runs[1].losses);
        Assert.Equal(runs[0].Bits, runs[1].Bits);
        Assert.All(runs[0].losses, loss => Assert.InRange(loss, 0.1, 10));
    }

    [Fact]
    public void Another_seed_is_another_run()
    {
        using Run one = new(Settings, 1), other = new(Settings with { Seed = 22 }, 1);
        Assert.NotEqual(one.Trainer.TrainStep(0, 16), other.Trainer.TrainStep(0, 16), 1e-4);
    }

    [Theory]
    [InlineData(2, false, false)]
    [InlineData(3, false, false)]
    [InlineData(2, true, false)]
    [InlineData(3, false, true)]
    public void Replicas_do_not_change_the_losses(int replicas, bool compatible, bool normFirst)
    {
        var settings = Settings with { RecboleCompatible = compatible, Shape = Shape(normFirst) };
        using Run one = new(settings, 1), many = new(settings, replicas);
        for (int first = 0; first + 16 <= one.Trainer.EpochSequences.Count; first += 16)
        {
            double expected = one.Trainer.TrainStep(first, 16), actual = many.Trainer.TrainStep(first, 16);
            if (double.IsNaN(expected))
                Assert.True(double.IsNaN(actual));
            else
                Assert.InRange(actual / expected, 1 - 1e-5, 1 + 1e-5);
        }
    }

    /// <summary>Some replicas then have nothing to do.</summary>
    [Fact]
    public void A_batch_may_have_fewer_sequences_than_there_are_replicas()
    {
        using Run one = new(Settings, 1), many = new(Settings, 4);
        for (int first = 0; first < 6; first += 2)
            Assert.InRange(many.Trainer.TrainStep(first, 2) / one.Trainer.TrainStep(first, 2), 1 - 1e-5, 1 + 1e-5);
    }

    /// <summary>Counted on the threads themselves: other tests run beside this one.</summary>
    [Theory]
    [InlineData(false, false, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(true, true, false)]
    [InlineData(false, false, true)]
    [InlineData(false, true, true)]
    [InlineData(false, false, false, 5)]
    [InlineData(false, true, false, 5)]
    public void A_step_allocates_nothing(bool compatible, bool nextItem, bool normFirst, int? samples = null)
    {
        var settings = nextItem ? NextItem(compatible) : Settings with { RecboleCompatible = compatible };
        var course = new LearningRateCourse(LearningRateSchedule.Cosine, 0.1, 5);
        using var run = new Run(
            settings with
            {
                ClipGradNorm = 1,
                Rates = course,
                SoftmaxSamples = samples,
                Shape = settings.Shape with { NormFirst = normFirst },
            },
            2);
        long[] before = new long[2], after = new long[2];
        Action<int> readBefore = worker => before[worker] = GC.GetAllocatedBytesForCurrentThread();
        Action<int> readAfter = worker => after[worker] = GC.GetAllocatedBytesForCurrentThread();
        int batches = run.Trainer.EpochSequences.Count / 16;
        for (int batch = 0; batch < 3 * batches; batch++)
            run.Trainer.TrainStep(batch % batches * 16, 16);
        run.Workers.Run(readBefore);
        run.Workers.Run(readAfter);

        // A barrier makes its kernel event the first time that a thread really has to sleep, which may come late.
        for (int round = 0; round == 0 || (round < 5 && !before.SequenceEqual(after)); round++)
        {
            run.Workers.Run(readBefore);
            for (int batch = 0; batch < 3 * batches; batch++)
                run.Trainer.TrainStep(batch % batches * 16, 16);
            run.Workers.Run(readAfter);
        }

        Assert.Equal(before, after);
        Assert.All(before, bytes => Assert.True(bytes > 0));
    }

    /// <summary>
    /// Adam's first moment after one step is (1 − β₁) times the gradient that it was given: (gradient, clipped as PyTorch's
    /// clip_grad_norm_ does) + weight_decay · parameter.
    /// </summary>
    [Theory]
    [InlineData(null, 0f, false)]
    [InlineData(0.05f, 0f, false)]
    [InlineData(1e6f, 0f, false)]
    [InlineData(null, 0.3f, false)]
    [InlineData(0.05f, 0.3f, false)]
    [InlineData(null, 30f, true)]
    [InlineData(0.05f, 30f, true)]
    public void Clipping_and_weight_decay_follow_their_formulas(float? clip, float decay, bool decoupled)
    {
        using Run plain = new(Settings, 2);
        using Run run = new(Settings with { ClipGradNorm = clip, WeightDecay = decay, DecoupledDecay = decoupled }, 2);
        float[] start = run.Parameters;
        plain.Trainer.TrainStep(0, 16);
        run.Trainer.TrainStep(0, 16);
        double[] gradient = [.. plain.FirstMoments.Select(moment => moment / 0.1)];
        double norm = Math.Sqrt(gradient.Sum(x => x * x));
        Assert.True(norm > 0.1, $"norm {norm}: clipping to 0.05 would do nothing");

        double scale = Math.Min(1, (clip ?? double.PositiveInfinity) / (norm + 1e-6));
        double[] expected = [.. gradient.Select((g, i) => (scale * g) + (decoupled ? 0 : decay * start[i]))];
        Numbers.Close("gradient", Column(expected), [.. run.FirstMoments.Select(moment => moment / 0.1f)], 1e-6);
        var step = new AdamStep(1, Settings.LearningRate);
        double shrinkage = decoupled ? Settings.LearningRate * decay : 0;
        double[] moved =
        [
            .. expected.Select((g, i) => Adam.Step(start[i], g, 0, 0, step).Parameter - start[i] - (shrinkage * start[i])),
        ];
        // Where the gradient is rounding alone, Adam's first step is its sign.
        int[] certain = [.. Enumerable.Range(0, start.Length).Where(i => Math.Abs(expected[i]) > 1e-6)];
        Assert.True(certain.Length > start.Length / 2);
        float[] after = run.Parameters;
        Numbers.Close("step", Column([.. certain.Select(i => moved[i])]), [.. certain.Select(i => after[i] - start[i])], 1e-3);
    }

    /// <summary>With moments that remember nothing, Adam's step is the sign of the gradient, the learning rate far.</summary>
    [Theory]
    [InlineData(LearningRateSchedule.Linear, 0.0)]
    [InlineData(LearningRateSchedule.Cosine, 0.4)]
    public void A_step_is_as_long_as_its_rate(Enum schedule, double warmup)
    {
        const float Rate = 1e-4f;
        const int Epochs = 4;
        var course = new LearningRateCourse((LearningRateSchedule)schedule, warmup, Epochs);
        var settings = Settings with
        {
            LearningRate = Rate,
            Rates = course,
            Beta1 = 0,
            Beta2 = 0,
            BatchSize = 64,
        };
        using var run = new Run(settings, 1);
        for (int epoch = 1; epoch <= Epochs; epoch++)
        {
            run.Trainer.BeginEpoch(epoch);
            int count = run.Trainer.EpochSequences.Count, half = count / 2;
            foreach (var (first, share) in new[] { (0, half / 2.0 / count), (half, (half + ((count - half) / 2.0)) / count) })
            {
                float[] before = run.Parameters;
                run.Trainer.TrainStep(first, first == 0 ? half : count - half);
                float longest = run.Parameters.Zip(before, (end, start) => Math.Abs(end - start)).Max();
                double expected = Rate * course.Factor(epoch, share);
                Assert.InRange(longest, expected * 0.99, (expected * 1.01) + 1e-7);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_loss_that_is_no_number_stops_the_run(bool clipped)
    {
        using var run = new Run(Settings with { LearningRate = 1e30f, ClipGradNorm = clipped ? 5 : null }, 2);
        var failure = Assert.Throws<InputException>(() => run.Trainer.TrainEpoch(1, null, default));
        Assert.StartsWith("step 2: the loss is ", failure.Message);
        Assert.Contains("learning_rate 1E+30", failure.Message);
        Assert.Contains("clip_grad_norm", failure.Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_masked_event_counts_and_each_sequence_has_one(bool normFirst)
    {
        var settings = Settings with { MaskRatio = 0.15, Shape = Shape(normFirst) };
        using var run = new Run(settings, 2);
        int rescued = 0;
        for (int step = 1; step <= 5; step++)
        {
            int[][] sequences = run.Sequences(0, 16);
            var masking = Masking((uint)step, 0.15f, Settings.LastOnlyShare, int.MaxValue, skipFirst: false, atLeastOne: true);
            int[] offsets = Numbers.Offsets([.. sequences.Select(sequence => sequence.Length)]);
            int[] counts = MaskedCounts(sequences, masking);
            Assert.All(counts, count => Assert.True(count >= 1));
            rescued += MaskedCounts(sequences, masking with { AtLeastOne = false }).Count(count => count == 0);

            double expected = ReferenceLoss(settings.Shape, run.Parameters, sequences, masking, (uint)step);
            Assert.InRange(run.Trainer.TrainStep(0, 16) / expected, 1 - 2e-6, 1 + 2e-6);
        }
        Assert.True(rescued > 0);
    }

    /// <summary>
    /// A whole batch hides only last events, or none does; of a sequence's masked events the last ⌊mask_ratio · L⌋ count, and the one
    /// at position 0 never. The batch's draw is seen from outside: the loss is the one of either kind.
    /// </summary>
    [Fact]
    public void Recbole_draws_once_a_batch_and_counts_some()
    {
        var settings = Settings with { RecboleCompatible = true, MaskRatio = 0.4, LastOnlyShare = 0.5f };
        using var run = new Run(settings, 2);
        const int Limit = 3; // ⌊0.4 · 8⌋
        int lastOnly = 0, steps = 24, limited = 0, atFirst = 0;
        for (uint step = 1; step <= steps; step++)
        {
            int first = (int)(step - 1) % 6 * 24;
            int[][] sequences = run.Sequences(first, 24);
            var scattered = Masking(step, 0.4f, 0, Limit, skipFirst: true, atLeastOne: false);
            float[] parameters = run.Parameters;
            double last = ReferenceLoss(settings.Shape, parameters, sequences, scattered with { LastOnlyShare = 1 }, step);
            double others = ReferenceLoss(settings.Shape, parameters, sequences, scattered, step);
            int counted = MaskedCounts(sequences, scattered).Sum();
            limited += MaskedCounts(sequences, scattered with { CountedLimit = int.MaxValue }).Sum() - counted;
            atFirst += MaskedCounts(sequences, scattered with { SkipFirst = false }).Sum() - counted;

            double actual = run.Trainer.TrainStep(first, 24);
            bool isLast = Math.Abs(actual - last) < Math.Abs(actual - others);
            lastOnly += isLast ? 1 : 0;
            Assert.InRange(actual / (isLast ? last : others), 1 - 2e-6, 1 + 2e-6);
        }
        Assert.InRange(lastOnly, steps / 4, steps * 3 / 4);
        Assert.True(limited > 0 && atFirst > 0, "the rules that were to be tested never came into play");
    }

    /// <summary>Every event predicts the one after it in its sequence's user; in RecBole's way, the last of each prefix alone.</summary>
    [Theory]
    [InlineData(false, true, false)]
    [InlineData(false, false, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, true)]
    [InlineData(false, false, true)]
    public void A_step_predicts_the_next_events(bool compatible, bool outputHead, bool normFirst)
    {
        var settings = NextItem(compatible, outputHead, normFirst);
        using var run = new Run(settings, 2);
        for (uint step = 1; step <= 4; step++)
        {
            int first = (int)(step - 1) * 8;
            SequenceSpan[] spans = [.. run.Trainer.EpochSequences.Skip(first).Take(8)];
            double expected = NextItemReferenceLoss(settings, run.Parameters, spans, step);
            Assert.InRange(run.Trainer.TrainStep(first, 8) / expected, 1 - 2e-6, 1 + 2e-6);
        }
    }

    /// <summary>Python's int(0.57 * 100) is 56; in float it would be 57.</summary>
    [Theory]
    [InlineData(0.57, 100, 56)]
    [InlineData(0.2, 50, 10)]
    [InlineData(0.29, 100, 28)]
    public void The_limit_of_counted_events_is_RecBoles(double ratio, int length, int limit)
    {
        var shape = Settings.Shape with { MaximumLength = length };
        var settings = Settings with { RecboleCompatible = true, MaskRatio = ratio, Shape = shape };
        Assert.Equal(limit, settings.CountedLimit);
    }

    [Fact]
    public void A_batch_without_a_masked_event_is_no_step()
    {
        // With last events only, a history of one event has its mask at position 0, which RecBole drops.
        using var run = new Run(Settings with { RecboleCompatible = true, LastOnlyShare = 1 }, 2);
        int first = run.Trainer.EpochSequences.TakeWhile(span => span.Length > 1).Count();
        float[] before = run.Parameters;
        Assert.True(double.IsNaN(run.Trainer.TrainStep(first, 1)));
        Assert.Equal(0, run.Trainer.Step);
        Assert.Equal(before, run.Parameters);
    }

    [Fact]
    public void Training_learns_a_circle()
    {
        var circle = SmallDatasets.Of(31, [.. Enumerable.Range(0, 40).Select(user =>
            Enumerable.Range(0, 4 + (user % 9)).Select(i => 1 + (((user * 7) + i) % 30)).ToArray())]);
        var shape = Settings.Shape with { ItemCount = 31, HiddenDropout = 0, AttentionDropout = 0 };
        using var device = new DeviceSet("cpu", 1);
        using var trainer = new Trainer(
            Settings with { Shape = shape },
            circle,
            TrainingSequences.Windows(circle, SmallDatasets.LeaveOneOut(circle), shape.MaximumLength, seed: 1),
            device.Kernels,
            device.Workers);
        double first = trainer.TrainEpoch(1, null, default).Loss, last = 0;
        for (int epoch = 2; epoch <= 150; epoch++)
            last = trainer.TrainEpoch(epoch, null, default).Loss;
        Assert.True(last < 0.5 * first, $"{first} then {last}");
    }

    [Fact]
    public void An_epoch_trains_on_every_sequence_once_in_an_order_of_its_own()
    {
        using var run = new Run(Settings with { RecboleCompatible = true }, 1);
        SequenceSpan[] first = [.. run.Trainer.EpochSequences];
        run.Trainer.BeginEpoch(2);
        SequenceSpan[] second = [.. run.Trainer.EpochSequences];
        Assert.NotEqual(first, second);
        Assert.Equal(first.OrderBy(span => (span.Start, span.Length)), second.OrderBy(span => (span.Start, span.Length)));
        var (_, tokens) = run.Trainer.TrainEpoch(2, null, default);
        Assert.Equal(first.Sum(span => span.Length), tokens);
        Assert.Equal((first.Length + 15) / 16, run.Trainer.Step);
    }

    /// <param name="normFirst">And positions from the newest event.</param>
    private static ModelShape Shape(bool normFirst) => Settings.Shape with { NormFirst = normFirst, NewestFirst = normFirst };

    internal static TrainerSettings NextItem(bool compatible, bool outputHead = false, bool normFirst = false) => Settings with
    {
        RecboleCompatible = compatible,
        Shape = Shape(normFirst) with { Causal = true, OutputHead = outputHead },
    };

    private static IEnumerable<int> Positions(ModelShape shape, int length) =>
        Enumerable.Range(0, length).Select(position => shape.NewestFirst ? length - 1 - position : position);

    /// <summary>
    /// The mean loss in double precision, dropout as in the step; the reference model keeps all rows, in the last layer too.
    /// </summary>
    private static double NextItemReferenceLoss(TrainerSettings settings, float[] parameters, SequenceSpan[] spans, uint step)
    {
        int[] offsets = Numbers.Offsets([.. spans.Select(span => span.Length)]);
        int[][] rows = [.. spans.Select((span, b) => Enumerable.Range(offsets[b], span.Length).ToArray())];
        if (settings.RecboleCompatible)
            rows = [.. rows.Select(all => all[^1..])];
        int[] targets = [.. spans.SelectMany((span, b) => rows[b].Select(row => Dataset.EventItems[span.Start + row - offsets[b] + 1]))];
        var batch = new ReferenceBatch(
            [.. spans.SelectMany(span => Dataset.EventItems[span.Start..(span.Start + span.Length)])],
            [.. spans.SelectMany(span => Positions(settings.Shape, span.Length))],
            offsets,
            [.. rows.SelectMany(all => all)],
            Numbers.Offsets([.. rows.Select(all => all.Length)]));
        return ReferenceModel(settings.Shape, parameters)
            .Loss(batch, targets, new ReferenceDropout(settings.Shape.HiddenDropout, settings.Shape.AttentionDropout, settings.Seed, step));
    }

    private static ReferenceModel ReferenceModel(ModelShape shape, float[] parameters) => new(
        new ParameterLayout(shape).Entries.ToDictionary(
            entry => entry.Name,
            entry => parameters[(int)entry.Offset..(int)(entry.Offset + entry.Length)].ToMatrix(entry.Shape[^1])),
        shape.Heads,
        shape.LayerNormEpsilon,
        shape.Causal);

    private static ClozeMasking Masking(uint step, float ratio, float lastOnlyShare, int limit, bool skipFirst, bool atLeastOne) => new(
        new RandomKey(Settings.Seed, step, RandomStreams.ClozeMask, 0),
        ratio, lastOnlyShare, Settings.Shape.MaskToken, limit, skipFirst, atLeastOne);

    private static int[] MaskedCounts(int[][] sequences, ClozeMasking masking)
    {
        int[] offsets = Numbers.Offsets([.. sequences.Select(sequence => sequence.Length)]);
        int[] masked = ClozeMask.Draw([.. sequences.SelectMany(sequence => sequence)], offsets, masking).MaskedOffsets;
        return [.. masked.Zip(masked.Skip(1), (start, end) => end - start)];
    }

    /// <summary>The mean loss in double precision, dropout as in the step.</summary>
    private static double ReferenceLoss(ModelShape shape, float[] parameters, int[][] sequences, ClozeMasking masking, uint step)
    {
        int[] offsets = Numbers.Offsets([.. sequences.Select(sequence => sequence.Length)]);
        var (tokens, rows, targets, rowOffsets) = ClozeMask.Draw([.. sequences.SelectMany(sequence => sequence)], offsets, masking);
        var batch = new ReferenceBatch(
            tokens, [.. sequences.SelectMany(sequence => Positions(shape, sequence.Length))], offsets, rows, rowOffsets);
        return ReferenceModel(shape, parameters)
            .Loss(batch, targets, new ReferenceDropout(shape.HiddenDropout, shape.AttentionDropout, Settings.Seed, step));
    }

    private static Matrix<double> Column(double[] values) => Matrix<double>.Build.Dense(values.Length, 1, values);

    /// <summary>What a step takes is compiled before it, and nothing else is done then.</summary>
    [Fact]
    public void A_GPUs_kernels_are_compiled_before_the_first_step()
    {
        using var run = new Run(Settings with { BatchSize = 3 }, 1, GpuDevices.Simulator);
        var kernels = (GpuKernels)run.Kernels[0];
        float[] before = run.Parameters;
        int compiled = kernels.Device.CompiledKernels;
        run.Trainer.CompileKernels(1);
        Assert.Equal(before, run.Parameters);
        Assert.Equal(0, run.Trainer.Step);
        Assert.InRange(kernels.Device.CompiledKernels, compiled + 10, int.MaxValue);

        compiled = kernels.Device.CompiledKernels;
        run.Trainer.BeginEpoch(1);
        Assert.InRange(run.Trainer.TrainStep(0, 3), 0.1, 10);
        Assert.NotEqual(before, run.Parameters);
        Assert.Equal(compiled, kernels.Device.CompiledKernels);
    }
}
