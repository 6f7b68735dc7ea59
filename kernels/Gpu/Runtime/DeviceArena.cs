using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// The floats of a device: parameters, gradients, moments, activations and work memory. They are taken from the driver in large blocks and
/// given out in slices, so that no operation waits for the driver, and what one gives back the next one gets. Only the queue of the
/// arithmetic may touch them: OpenCL leaves undefined what two queues do to one block at a time.
/// </summary>
internal sealed class DeviceArena(GpuDevice device) : IDisposable
{
    /// <summary>Floats of a block: 16 MiB. A larger request has a block of its own.</summary>
    public const long BlockLength = 1 << 22;

    /// <summary>Slices start at multiples of so many floats: 256 bytes, as the driver's own allocations do.</summary>
    public const long Alignment = 64;

    private readonly List<Block> _blocks = [];

    /// <summary>Memory with old contents; the arena's again once it is disposed of.</summary>
    /// <exception cref="DeviceException">The device has not so much left.</exception>
    public Slice Take(long length)
    {
        long padded = Padded(length);
        foreach (var block in _blocks)
        {
            if (block.TryTake(padded, out long start))
                return new Slice(this, block, start, length);
        }
        var added = new Block(device.Allocate<float>(Math.Max(padded, BlockLength)));
        _blocks.Add(added);
        added.TryTake(padded, out long first);
        return new Slice(this, added, first, length);
    }

    /// <summary>Floats given out, and what lies between them and the next slices.</summary>
    public long TakenLength => _blocks.Sum(block => block.TakenLength);

    public void Dispose()
    {
        foreach (var block in _blocks)
            device.Free(block.Memory);
        _blocks.Clear();
    }

    private static long Padded(long length) => (Math.Max(1, length) + Alignment - 1) / Alignment * Alignment;

    private void Return(Block block, long start, long length)
    {
        // Its arena may have gone first, and the block with it.
        if (block.Memory.IsDisposed)
            return;
        block.Return(start, length);
        if (block.TakenLength > 0)
            return;
        // Operations on what lay there may still be queued.
        try
        {
            device.FinishCompute();
        }
        catch (DeviceException)
        {
            // Nothing runs there any more, and whoever wants results hears of it.
        }
        device.Free(block.Memory);
        _blocks.Remove(block);
    }

    /// <summary>A part of a block.</summary>
    public sealed class Slice(DeviceArena arena, Block block, long start, long length) : IDisposable
    {
        private bool _disposed;

        public ArrayView<float> View { get; } = block.Memory.View.BaseView.SubView(start, length);

        public void Dispose()
        {
            if (_disposed)
                return;
            _disposed = true;
            arena.Return(block, start, Padded(View.Length));
        }
    }

    /// <summary>Memory of the driver's, and which parts of it are free.</summary>
    public sealed class Block
    {
        /// <summary>In order, and no two of them adjoin.</summary>
        private readonly List<(long Start, long End)> _gaps;

        public Block(MemoryBuffer1D<float, Stride1D.Dense> memory)
        {
            Memory = memory;
            _gaps = [(0, memory.Length)];
        }

        public MemoryBuffer1D<float, Stride1D.Dense> Memory { get; }

        public long TakenLength => Memory.Length - _gaps.Sum(gap => gap.End - gap.Start);

        /// <summary>The first part of this length that is free.</summary>
        public bool TryTake(long length, out long start)
        {
            int i = _gaps.FindIndex(gap => gap.End - gap.Start >= length);
            if (i < 0)
            {
                start = -1;
                return false;
            }
            start = _gaps[i].Start;
            if (start + length == _gaps[i].End)
                _gaps.RemoveAt(i);
            else
                _gaps[i] = (start + length, _gaps[i].End);
            return true;
        }

        public void Return(long start, long length)
        {
            long end = start + length;
            int next = _gaps.FindIndex(gap => gap.Start >= end);
            if (next < 0)
                next = _gaps.Count;
            if (next < _gaps.Count && _gaps[next].Start == end)
            {
                end = _gaps[next].End;
                _gaps.RemoveAt(next);
            }
            if (next > 0 && _gaps[next - 1].End == start)
                _gaps[next - 1] = (_gaps[next - 1].Start, end);
            else
                _gaps.Insert(next, (start, end));
        }
    }
}
