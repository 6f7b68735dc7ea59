namespace Bert4Rec.Kernels.Cpu;

/// <summary>Item and position lookup, and the sums of their gradients. One thread adds row after row, so no two additions race.</summary>
internal static unsafe class Embedding<V>
    where V : struct, IVector<V>
{
    public static void Forward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        int* token = tokens.Pointer(), position = positions.Pointer();
        Matrix item = new(items), place = new(positionTable), sum = new(x);
        for (int t = 0; t < x.Rows; t++)
            Elementwise<V>.Sum(item.Row(token[t]), place.Row(position[t]), sum.Row(t), x.Columns);
    }

    public static void Backward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        int* token = tokens.Pointer(), position = positions.Pointer();
        Matrix d = new(dx), dItem = new(dItems), dPlace = new(dPositions);
        for (int t = 0; t < dx.Rows; t++)
        {
            Elementwise<V>.Add(dPlace.Row(position[t]), d.Row(t), dx.Columns);
            // Padding is no item.
            if (token[t] != 0)
                Elementwise<V>.Add(dItem.Row(token[t]), d.Row(t), dx.Columns);
        }
    }

    public static void Gather(Tensor x, Indices rows, Tensor y)
    {
        int* row = rows.Pointer();
        Matrix from = new(x), to = new(y);
        long bytes = (long)x.Columns * sizeof(float);
        for (int m = 0; m < rows.Length; m++)
            Buffer.MemoryCopy(from.Row(row[m]), to.Row(m), bytes, bytes);
    }

    public static void GatherBackward(Tensor dy, Indices rows, Tensor dx)
    {
        int* row = rows.Pointer();
        Matrix from = new(dy), to = new(dx);
        for (int m = 0; m < rows.Length; m++)
            Elementwise<V>.Add(to.Row(row[m]), from.Row(m), dx.Columns);
    }
}
