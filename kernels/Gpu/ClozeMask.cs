using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Draws the cloze mask and counts every sequence's masked rows, and lists them where the prefix sums of the counts say. All of it goes
/// through the transfer queue, behind the upload of the tokens: the next batch is masked while the arithmetic of this one runs.
/// </summary>
internal sealed class ClozeMask
{
    /// <summary>Threads of a sequence when drawing: neighbouring columns of a row lie in as many blocks of random numbers.</summary>
    private const int Lanes = 8;

    /// <summary>Stands for a masked token until it is listed.</summary>
    private const int Hidden = -1;

    private readonly GpuDevice _device;
    private readonly PrefixSum _prefixSum;
    private readonly GpuKernel<Arguments> _draw;
    private readonly GpuKernel<Arguments> _list;
    private MemoryBuffer1D<int, Stride1D.Dense>? _work;

    public ClozeMask(GpuDevice device)
    {
        _device = device;
        _prefixSum = new(device);
        _draw = device.Load<Arguments>(DrawKernel, device.GroupSize);
        _list = device.Load<Arguments>(ListKernel, device.GroupSize);
    }

    public int Draw(
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets)
    {
        var queue = _device.Transfer;
        int sequences = offsets.Length - 1;
        var counts = maskedOffsets.TransferView();
        var arguments = new Arguments(
            tokens.TransferView(), offsets.TransferView(), sequences, new Rules(masking), maskedTokens.TransferView(),
            maskedRows.TransferView(), targets.TransferView(), counts);
        // One more than there are sequences: of its count, none, the prefix sum is the sum of all.
        _draw.Launch(queue, Groups((sequences + 1L) * Lanes), arguments);
        _prefixSum.Scan(queue, counts, Work(_prefixSum.WorkLength(sequences + 1)));
        _list.Launch(queue, Groups(sequences), arguments);

        int count = 0;
        _device.Download(queue, counts.SubView(sequences, 1), new Span<int>(ref count));
        // Nothing was drawn: about as many as would be.
        return _device.IsRehearsing ? Math.Max(1, (int)(tokens.Length * masking.MaskRatio)) : count;
    }

    /// <summary>Work memory of the transfer queue, which is done with it when a mask is drawn.</summary>
    private ArrayView<int> Work(long length)
    {
        if (_work is null || _work.Length < length)
        {
            _device.Free(_work);
            _work = null;
            _work = _device.Allocate<int>(length);
        }
        return _work.View.BaseView.SubView(0, length);
    }

    private Index2D Groups(long threads) => new((int)((threads + _device.GroupSize - 1) / _device.GroupSize), 1);

    /// <summary>Eight threads a sequence; each block of random numbers is good for eight events. The first of them counts.</summary>
    private static void DrawKernel(Arguments a)
    {
        int sequence = Grid.GlobalIndex.X / Lanes, lane = Grid.GlobalIndex.X % Lanes;
        int start = sequence < a.Sequences ? a.Offsets[sequence] : 0;
        int length = sequence < a.Sequences ? a.Offsets[sequence + 1] - start : 0;
        bool lastOnly = DevicePhilox.Draw(a.Rules.LastOnlyKey, 0, (uint)sequence).Half(0) < a.Rules.LastOnlyKey.Threshold;
        for (int block = lane; block / Lanes * Words.Halves * Lanes < length; block += Lanes)
        {
            var words = DevicePhilox.Draw(a.Rules.Key, (uint)block, (uint)sequence);
            int position = (block / Lanes * Words.Halves * Lanes) + lane;
            for (int i = 0; i < Words.Halves && position < length; i++, position += Lanes)
            {
                bool hidden = lastOnly ? position == length - 1 : words.Half(i) < a.Rules.Key.Threshold;
                a.MaskedTokens[start + position] = hidden ? Hidden : a.Tokens[start + position];
            }
        }
        Group.Barrier();
        if (lane == 0 && sequence <= a.Sequences)
            a.MaskedOffsets[sequence] = Count(a, start, length);
    }

    /// <summary>How many masked events of a sequence the loss counts, and where none is masked, the last one may have to be.</summary>
    private static int Count(Arguments a, int start, int length)
    {
        int count = 0, hidden = 0;
        for (int position = length - 1; position >= 0; position--)
        {
            if (a.MaskedTokens[start + position] != Hidden)
                continue;
            count += a.Rules.Counts(position, hidden) ? 1 : 0;
            hidden++;
        }
        if (hidden == 0 && length > 0 && a.Rules.AtLeastOne != 0)
        {
            a.MaskedTokens[start + length - 1] = Hidden;
            count = a.Rules.Counts(length - 1, 0) ? 1 : 0;
        }
        return count;
    }

    /// <summary>From the end, as the loss counts the last masked events.</summary>
    private static void ListKernel(Arguments a)
    {
        int sequence = Grid.GlobalIndex.X;
        if (sequence >= a.Sequences)
            return;
        int start = a.Offsets[sequence], place = a.MaskedOffsets[sequence + 1], hidden = 0;
        for (int row = a.Offsets[sequence + 1] - 1; row >= start; row--)
        {
            if (a.MaskedTokens[row] != Hidden)
                continue;
            a.MaskedTokens[row] = a.Rules.MaskToken;
            if (a.Rules.Counts(row - start, hidden))
            {
                place--;
                a.MaskedRows[place] = row;
                a.Targets[place] = a.Tokens[row];
            }
            hidden++;
        }
    }

    internal readonly record struct Arguments(
        ArrayView<int> Tokens, ArrayView<int> Offsets, int Sequences, Rules Rules, ArrayView<int> MaskedTokens, ArrayView<int> MaskedRows,
        ArrayView<int> Targets, ArrayView<int> MaskedOffsets);

    /// <summary><see cref="ClozeMasking"/> as a kernel takes it.</summary>
    internal readonly struct Rules
    {
        public readonly DropoutKey Key;
        public readonly DropoutKey LastOnlyKey;
        public readonly int MaskToken;
        public readonly int CountedLimit;
        public readonly int SkipFirst;
        public readonly int AtLeastOne;

        public Rules(in ClozeMasking masking)
        {
            Key = new(masking.Key, Philox.Threshold(masking.MaskRatio), 1);
            LastOnlyKey = new(
                masking.Key with { Stream = masking.Key.Stream + 1 }, Philox.Threshold(masking.LastOnlyShare), 1);
            MaskToken = masking.MaskToken;
            CountedLimit = masking.CountedLimit;
            SkipFirst = masking.SkipFirst ? 1 : 0;
            AtLeastOne = masking.AtLeastOne ? 1 : 0;
        }

        /// <summary>Whether the loss counts a masked event that so many masked ones follow.</summary>
        public bool Counts(int position, int following) => following < CountedLimit && (position > 0 || SkipFirst == 0);
    }
}
