using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Adam over flat buffers, one pass that reads four arrays and writes four, and the two sums that go with it: of losses, and of squares for
/// the norm that clips a gradient. Sums keep what each addition rounds away, and squares come in two scales, so that none over- or
/// underflows.
/// </summary>
internal sealed class AdamOptimizer
{
    /// <summary>
    /// Numbers from here on are squared at <see cref="LargeScale"/>, others at <see cref="SmallScale"/>; both are powers of two.
    /// </summary>
    private const float Large = 1 << 20;
    private const float SmallScale = 1 << 20;
    private const float LargeScale = 1f / (1L << 40) / (1L << 40);

    private readonly GpuDevice _device;
    private readonly GpuKernel<StepArguments> _step;
    private readonly GpuKernel<StepFloat4Arguments> _stepFloat4;
    private readonly GpuKernel<SumArguments> _sum;
    private readonly GpuKernel<SquaresArguments> _squares;
    private readonly GpuKernel<NormArguments> _norm;

    public AdamOptimizer(GpuDevice device)
    {
        _device = device;
        int size = device.GroupSize;
        _step = device.Load<StepArguments>(StepKernel, size);
        _stepFloat4 = device.Load<StepFloat4Arguments>(StepFloat4Kernel, size);
        if (device.UsesWarps)
        {
            _sum = device.Load<SumArguments>(SumKernel<WarpReduction>, size);
            _squares = device.Load<SquaresArguments>(SquaresKernel<WarpReduction>, size);
            _norm = device.Load<NormArguments>(NormKernel<WarpReduction>, size);
        }
        else
        {
            _sum = device.Load<SumArguments>(SumKernel<SharedReduction>, size);
            _squares = device.Load<SquaresArguments>(SquaresKernel<SharedReduction>, size);
            _norm = device.Load<NormArguments>(NormKernel<SharedReduction>, size);
        }
    }

    public void Update(
        ArrayView<float> parameters, ArrayView<float> gradients, ArrayView<float> firstMoments, ArrayView<float> secondMoments,
        ArrayView<float> norms, in AdamStep step)
    {
        var rates = new Rates(step);
        bool aligned = GpuDevice.IsAligned(parameters) && GpuDevice.IsAligned(gradients) && GpuDevice.IsAligned(firstMoments)
            && GpuDevice.IsAligned(secondMoments);
        long length = parameters.Length, whole = aligned ? length / 4 * 4 : 0;
        if (whole > 0)
        {
            _stepFloat4.Launch(
                _device.GroupsFor(whole / 4),
                new(Float4s(parameters), Float4s(gradients), Float4s(firstMoments), Float4s(secondMoments), norms, rates));
        }
        if (whole < length)
        {
            _step.Launch(
                _device.GroupsFor(length - whole),
                new(Rest(parameters), Rest(gradients), Rest(firstMoments), Rest(secondMoments), norms, rates));
        }

        ArrayView<Float4> Float4s(ArrayView<float> x) => x.SubView(0, whole).Cast<Float4>();

        ArrayView<float> Rest(ArrayView<float> x) => x.SubView(whole, length - whole);
    }

    public void AddSum(ArrayView<float> x, ArrayView<float> accumulator)
    {
        int groups = _device.GroupsFor(x.Length);
        var sums = _device.Workspace(groups);
        _sum.Launch(groups, new(x, sums, Accumulate: 0));
        _sum.Launch(1, new(sums, accumulator, Accumulate: 1));
    }

    public void Norm(ArrayView<float> x, ArrayView<float> result)
    {
        int groups = _device.GroupsFor(x.Length);
        var squares = _device.Workspace(2 * groups);
        _squares.Launch(groups, new(x, squares));
        _norm.Launch(1, new(squares, result));
    }

    private static void StepKernel(StepArguments a)
    {
        float clip = a.Rates.ClippingScale(a.Norms);
        for (long i = Grid.GlobalLinearIndex; i < a.Parameters.Length; i += (long)Grid.DimX * Group.DimX)
        {
            var next = a.Rates.Next(clip, a.Parameters[i], a.Gradients[i], a.FirstMoments[i], a.SecondMoments[i]);
            a.Parameters[i] = next.Parameter;
            a.FirstMoments[i] = next.First;
            a.SecondMoments[i] = next.Second;
            a.Gradients[i] = 0;
        }
    }

    /// <summary>The same, a <see cref="Float4"/> at a time.</summary>
    private static void StepFloat4Kernel(StepFloat4Arguments a)
    {
        float clip = a.Rates.ClippingScale(a.Norms);
        var parameters = a.Parameters.AsAligned(16);
        var gradients = a.Gradients.AsAligned(16);
        var firstMoments = a.FirstMoments.AsAligned(16);
        var secondMoments = a.SecondMoments.AsAligned(16);
        for (long i = Grid.GlobalLinearIndex; i < parameters.Length; i += (long)Grid.DimX * Group.DimX)
        {
            Float4 p = parameters[i], g = gradients[i], m = firstMoments[i], v = secondMoments[i];
            var x = a.Rates.Next(clip, p.X, g.X, m.X, v.X);
            var y = a.Rates.Next(clip, p.Y, g.Y, m.Y, v.Y);
            var z = a.Rates.Next(clip, p.Z, g.Z, m.Z, v.Z);
            var w = a.Rates.Next(clip, p.W, g.W, m.W, v.W);
            parameters[i] = new(x.Parameter, y.Parameter, z.Parameter, w.Parameter);
            firstMoments[i] = new(x.First, y.First, z.First, w.First);
            secondMoments[i] = new(x.Second, y.Second, z.Second, w.Second);
            gradients[i] = new(0, 0, 0, 0);
        }
    }

    private static void SumKernel<R>(SumArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        var sum = new CompensatedSum(0, 0);
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            sum = sum.Plus(a.X[i]);
        float total = default(R).Reduce<float, Sum>(sum.Total, Group.DimX, shared);
        if (Group.IdxX == 0)
            a.Sums[Grid.IdxX] = a.Accumulate == 0 ? total : a.Sums[Grid.IdxX] + total;
    }

    private static void SquaresKernel<R>(SquaresArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        CompensatedSum small = new(0, 0), large = new(0, 0);
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
        {
            float x = a.X[i];
            if (IntrinsicMath.Abs(x) >= Large)
                large = large.Plus(x * LargeScale * (x * LargeScale));
            else
                small = small.Plus(x * SmallScale * (x * SmallScale));
        }
        var total = default(R).Reduce<Pair, PairSum>(new(small.Total, large.Total), Group.DimX, shared);
        if (Group.IdxX != 0)
            return;
        a.Squares[2 * Grid.IdxX] = total.X;
        a.Squares[(2 * Grid.IdxX) + 1] = total.Y;
    }

    private static void NormKernel<R>(NormArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        CompensatedSum small = new(0, 0), large = new(0, 0);
        for (int i = 2 * Group.IdxX; i < a.Squares.Length; i += 2 * Group.DimX)
        {
            small = small.Plus(a.Squares[i]);
            large = large.Plus(a.Squares[i + 1]);
        }
        var total = default(R).Reduce<Pair, PairSum>(new(small.Total, large.Total), Group.DimX, shared);
        if (Group.IdxX != 0)
            return;
        // The small numbers' part is scaled before it is squared: the square of the scale is below the smallest float.
        float smallPart = MathF.Sqrt(total.X) * (LargeScale / SmallScale);
        a.Result[0] = total.Y == 0 ? MathF.Sqrt(total.X) / SmallScale : MathF.Sqrt(total.Y + (smallPart * smallPart)) / LargeScale;
    }

    internal readonly record struct StepArguments(
        ArrayView<float> Parameters, ArrayView<float> Gradients, ArrayView<float> FirstMoments, ArrayView<float> SecondMoments,
        ArrayView<float> Norms, Rates Rates);

    internal readonly record struct StepFloat4Arguments(
        ArrayView<Float4> Parameters, ArrayView<Float4> Gradients, ArrayView<Float4> FirstMoments, ArrayView<Float4> SecondMoments,
        ArrayView<float> Norms, Rates Rates);

    /// <param name="X">What to sum.</param>
    /// <param name="Sums">One element a group.</param>
    /// <param name="Accumulate">1 to add to what is there.</param>
    internal readonly record struct SumArguments(ArrayView<float> X, ArrayView<float> Sums, int Accumulate);

    /// <param name="X">What to square.</param>
    /// <param name="Squares">Two sums a group: of the small numbers, and of the large.</param>
    internal readonly record struct SquaresArguments(ArrayView<float> X, ArrayView<float> Squares);

    internal readonly record struct NormArguments(ArrayView<float> Squares, ArrayView<float> Result);

    /// <summary>An <see cref="AdamStep"/> with what is the same for all parameters worked out.</summary>
    internal readonly struct Rates
    {
        private readonly float _stepSize, _inverseRoot, _beta1, _beta2, _epsilon, _weightDecay, _maximumNorm;

        public Rates(in AdamStep step)
        {
            _stepSize = (float)(step.LearningRate / (1 - Math.Pow(step.Beta1, step.Step)));
            _inverseRoot = (float)(1 / Math.Sqrt(1 - Math.Pow(step.Beta2, step.Step)));
            _beta1 = step.Beta1;
            _beta2 = step.Beta2;
            _epsilon = step.Epsilon;
            _weightDecay = step.WeightDecay;
            _maximumNorm = step.MaximumNorm;
        }

        public Moved Next(float clip, float parameter, float gradient, float first, float second)
        {
            float g = (clip * gradient) + (_weightDecay * parameter);
            float m = (_beta1 * first) + ((1 - _beta1) * g);
            float v = (_beta2 * second) + ((1 - _beta2) * (g * g));
            return new(parameter - (_stepSize * m / ((MathF.Sqrt(v) * _inverseRoot) + _epsilon)), m, v);
        }

        /// <summary>
        /// Factor of the gradient, from the norms of its parts; as <see cref="AdamStep.ClippingScale"/> without its squares.
        /// </summary>
        /// <remarks>
        /// 0f and 1f: of the integers 0 and 1, converted, ILGPU 1.5.3 makes their bit patterns, 0 and 1.4e-45.
        /// </remarks>
        public float ClippingScale(ArrayView<float> norms)
        {
            float largest = 0, squares = 0;
            for (int i = 0; i < norms.Length; i++)
                largest = norms[i] > largest ? norms[i] : largest;
            if (largest == 0 || largest > float.MaxValue)
                return largest > _maximumNorm ? 0f : 1f;
            for (int i = 0; i < norms.Length; i++)
                squares += norms[i] / largest * (norms[i] / largest);
            float norm = largest * MathF.Sqrt(squares);
            return norm > _maximumNorm ? _maximumNorm / (norm + 1e-6f) : 1f;
        }
    }

    /// <summary>A parameter and its moments after the step.</summary>
    internal readonly struct Moved(float parameter, float first, float second)
    {
        public readonly float Parameter = parameter;
        public readonly float First = first;
        public readonly float Second = second;
    }

    /// <summary>A sum, and beside it what its additions rounded away (Knuth's two-sum).</summary>
    private readonly struct CompensatedSum(float sum, float error)
    {
        private readonly float _sum = sum;
        private readonly float _error = error;

        /// <summary>Where the sum is infinite, its error is not a number and does not count.</summary>
        public float Total => _error - _error == 0 ? _sum + _error : _sum;

        public CompensatedSum Plus(float x)
        {
            float next = _sum + x, taken = next - _sum;
            return new(next, _error + (_sum - (next - taken)) + (x - taken));
        }
    }
}
