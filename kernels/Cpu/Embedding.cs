namespace Bert4Rec.Kernels.Cpu;

/// <summary>Item and position lookup, and the sums of their gradients. One thread adds row after row, so no two additions race.</summary>
internal static unsafe class Embedding<V>
    where V : struct, IVector<V>
{
    public static void Forward(int* tokens, int* positions, float* items, float* positionTable, float* x, int rows, int h)
    {
        for (int t = 0; t < rows; t++)
            AddRows(items + ((long)tokens[t] * h), positionTable + ((long)positions[t] * h), x + ((long)t * h), h);
    }

    public static void Backward(int* tokens, int* positions, float* dx, float* dItems, float* dPositions, int rows, int h)
    {
        for (int t = 0; t < rows; t++)
        {
            float* d = dx + ((long)t * h);
            float* position = dPositions + ((long)positions[t] * h);
            AddRows(position, d, position, h);
            if (tokens[t] == 0)
                continue;
            float* item = dItems + ((long)tokens[t] * h);
            AddRows(item, d, item, h);
        }
    }

    public static void Gather(float* x, int* rows, float* y, int count, int h)
    {
        for (int m = 0; m < count; m++)
            Buffer.MemoryCopy(x + ((long)rows[m] * h), y + ((long)m * h), h * sizeof(float), h * sizeof(float));
    }

    public static void GatherBackward(float* dy, int* rows, float* dx, int count, int h)
    {
        for (int m = 0; m < count; m++)
        {
            float* target = dx + ((long)rows[m] * h);
            AddRows(target, dy + ((long)m * h), target, h);
        }
    }

    /// <summary>sum = a + b</summary>
    public static void AddRows(float* a, float* b, float* sum, long length)
    {
        for (long i = 0; i < length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, length - i);
            V.StoreFirst(V.LoadFirst(a + i, lanes) + V.LoadFirst(b + i, lanes), sum + i, lanes);
        }
    }
}
