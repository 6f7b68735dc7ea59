namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// What a product takes with a tile, in the steps along the K dimension that a group with the small one takes among others. The numbers are
/// round ones that choose well among what an H200 took for 34 products with both tiles and up to 132 parts (tests/fixtures).
/// </summary>
/// <param name="AtOnce">Groups that an SM has room for: the next ones begin when these end.</param>
/// <param name="Alone">A step, where the SM has no other group, so that each wait is in it.</param>
/// <param name="Among">A step, where others work meanwhile.</param>
/// <param name="Group">What a group does before and after its steps.</param>
/// <param name="Part">Adding one part of a tile to the others.</param>
internal readonly record struct TileCost(int AtOnce, double Alone, double Among, double Group, double Part)
{
    /// <summary>No part of the K dimension is shorter.</summary>
    private const int ShortestPart = 64;

    /// <summary>Parts are worth their memory only where each SM has few groups.</summary>
    private const int MostGroups = 8;

    /// <summary>What adding up parts takes beside the parts.</summary>
    private const double AddingParts = 200;

    public static TileCost Small { get; } = new(AtOnce: 7, Alone: 3, Among: 1, Group: 200, Part: 35);

    public static TileCost Large { get; } = new(AtOnce: 3, Alone: 6, Among: 2, Group: 400, Part: 450);

    /// <summary>Into how many parts the K dimension is split at best, and what the product takes then.</summary>
    /// <param name="tiles">Of the result.</param>
    /// <param name="k">The K dimension.</param>
    /// <param name="multiprocessors">Of the device.</param>
    public (double Time, int Parts) Best(long tiles, int k, int multiprocessors)
    {
        tiles = Math.Max(1, tiles);
        long most = Math.Max(1, Math.Min(k / ShortestPart, MostGroups * (long)multiprocessors / tiles));
        (double Time, int Parts) best = (double.PositiveInfinity, 1);
        for (int parts = 1; parts <= most; parts++)
        {
            long groups = ((tiles * parts) + multiprocessors - 1) / multiprocessors;
            double time = Of(groups, (double)k / parts) + (parts == 1 ? 0 : AddingParts + (Part * parts));
            if (time < best.Time)
                best = (time, parts);
        }
        return best;
    }

    /// <summary>So many groups on an SM, and steps of each.</summary>
    private double Of(long groups, double steps) => (groups / AtOnce * Together(AtOnce, steps)) + Together(groups % AtOnce, steps);

    private double Together(long groups, double steps) =>
        groups == 0 ? 0 : Math.Max((Alone * steps) + Group, groups * ((Among * steps) + Group));
}
